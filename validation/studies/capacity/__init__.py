"""Images: enough heads, or enough layers, bring the training loss to zero

Gao et al. (2024, arXiv 2410.23610) train small Transformers on images and find that the training loss nearly vanishes,
and the training accuracy is nearly 100 %, once there are enough heads or enough layers. Here the gradient flow does the
same: 8 x 8 digits in four patches and a class token, ten classes with one-hot labels, the largest of ten entries of the
class token as the answer; M attention heads of rank one and M gelu neurons in each of L layers, from M = 4, L = 2
upwards: 4 to 40 heads in 6 layers, and from 2 layers on with 8 heads. lambda = 1e-5, all particles start from
N(0, 1/4), and all networks are trained for the same tau by gradient descent with adaptive steps in float32.

CIFAR-10, averaged to 8 x 8 pixels, is treated alike if a local copy of its Python batches is in
data/cifar-10-batches-py or in the folder that the environment variable CIFAR10 names. Losses are in units of 0.45, the
risk of the best constant answer to ten equally frequent classes, (1 - 1/10)/2.
"""

EXPERIMENTS = ("agreement", "fit")
