"""Weight decay: what it costs, and what the particles collapse onto

With weight decay lambda the flow comes to rest where lambda beta = -grad E<g, p>. On data that the network can fit,
theory expects Q_inf = O(lambda) and R_inf = O(lambda^2); on data that it cannot, the same above the floor of the risk.
At rest every residual is known from the particles alone, and so are the parameters in which encoders are linear.

Problems: linear models with a closed form (constant encoders, frozen features); a Transformer of softmax heads and tanh
neurons on in-context regression with few prompts and, at the full size, on labels of a teacher of its own kind; and
neurons alone, which see nothing but the last token, so that the risk has the floor E Var(y | last token)/2.

Long runs take BDF2 with adaptive steps to lambda tau = 200. How far from rest they end is |v|/(lambda |beta|).
"""

EXPERIMENTS = ("linear_models", "unseen", "rest", "threshold", "merged", "growth", "collapse")
