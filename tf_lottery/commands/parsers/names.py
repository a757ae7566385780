"""Names that flags take, for help and errors that need no TensorFlow.

The library is what decides; a test holds these names equal to its own.
"""

DATASETS = ("cifar10", "cifar100", "digits", "fashion_mnist", "mnist")
CRITERIA = (
    "bn_scale", "fpgm", "grasp", "lamp", "large_final", "lookahead",
    "magnitude", "obd", "random", "small_final", "snip", "synflow", "taylor",
    "woodfisher",
)
COLLAPSE = ("keep-one", "warn", "error")
SCOPES = ("global", "layer", "uniform+", "erk", "er")
UNIT_SCOPES = ("global", "layer")
NORMS = ("l1", "l2", "joint")
TARGETS = ("auto", "size", "flash", "cpu", "arm", "micro")
QUANTIZE = ("float16", "dynamic", "int8", "auto")
TUNERS = ("random", "hyperband", "bayesian")
TUNABLE = (
    "rate", "rounds", "rewind_to", "criterion", "pattern", "learning_rate",
    "seed",
)
