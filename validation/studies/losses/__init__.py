"""Losses: squares, logistic, cross-entropy and Huber, against solutions in closed form

A prompt of one token, softmax heads and one layer make predictions that are linear in the values. One prompt moves by
u' = -l'(u)/4 - lambda u, whatever the heads, with l' the derivative of the loss, so that the flow, its steps of JKO
and its points of rest are known, those of equal prompts with different labels as well. For Transformers, whose flow
is not known: velocities and runs of the numpy Transformer, where the losses are written a second time, and identities
between Q, its dissipation, the predictions and the tangent kernel, which knows nothing of the loss.
"""

EXPERIMENTS = (
    "one_prompt",
    "at_rest",
    "proximal",
    "equal_prompts",
    "agreement",
    "identities",
    "small_residuals",
    "unlike_labels",
)
