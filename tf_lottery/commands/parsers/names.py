"""Names that flags take, for help and errors that need no TensorFlow.

The library is what decides; a test holds these names equal to its own.
"""

DATASETS = (
    "cifar10", "cifar10_16x16", "cifar100", "digits", "fashion_mnist",
    "mnist",
)
CRITERIA = (
    "bn_scale", "fpgm", "grasp", "lamp", "large_final", "lookahead",
    "magnitude", "obc", "obd", "random", "small_final", "snip", "synflow",
    "taylor", "wanda", "woodfisher",
)
COLLAPSE = ("keep-one", "warn", "error")
SCOPES = ("global", "layer", "uniform+", "erk", "er", "search")
UNIT_SCOPES = ("global", "layer", "isomorphic", "search")
NORMS = ("l1", "l2", "joint")
TARGETS = (
    "auto", "size", "flash", "cpu", "arm", "micro", "ethos-u55", "ethos-u65",
    "ethos-u85",
)
ACCELERATORS = (
    "ethos-u55-32", "ethos-u55-64", "ethos-u55-128", "ethos-u55-256",
    "ethos-u65-256", "ethos-u65-512", "ethos-u85-128", "ethos-u85-256",
    "ethos-u85-512", "ethos-u85-1024", "ethos-u85-2048",
)
RUNTIMES = ("ai_edge_litert", "tensorflow", "tflite_micro", "ethos-u")
ENCODINGS = ("auto", "dense")
DTYPES = ("float32", "int8")
QUANTIZE = ("float16", "dynamic", "int8", "auto")
TUNERS = ("random", "hyperband", "bayesian")
TUNABLE = (
    "rate", "rounds", "rewind_to", "criterion", "pattern", "learning_rate",
    "seed",
)
