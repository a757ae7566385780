"""Small models and data that the tests share."""

import collections
import functools
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import pytest

from tf_lottery.export import children

BACKEND = keras.backend.backend()
# Whether a step is compiled is a question under TensorFlow alone: JAX
# compiles every step that is not eager, and under torch none is.
JIT = [False, True] if BACKEND == "tensorflow" else ["auto"]


def pytest_configure(config):
    if BACKEND == "tensorflow" and config.option.markexpr == "not slow":
        import tensorflow as tf

        # Networks this small gain nothing by it, and it takes a sixth of the
        # time; with slow tests everything is as users have it.
        tf.config.optimizer.set_experimental_options(
            {"disable_meta_optimizer": True}
        )


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Makes most cases slow of a test marked `covering` or `some`.

    Of `covering`, the cases that stay try each value of each argument, spread
    over the values of the others; of `some(n)`, n that lie evenly.
    """
    tests = {}
    for item in items:
        for marker in item.iter_markers():
            if marker.name in ("covering", "some"):
                name = item.nodeid.partition("[")[0]
                key = name, marker.name, marker.args
                tests.setdefault(key, {})[item] = _values(item)
    for (_, name, arguments), cases in tests.items():
        if name == "covering":
            quick = _cover(cases)
        else:
            quick = set(list(cases)[::-(-len(cases) // arguments[0])])
        for item in cases.keys() - quick:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session", autouse=True)
def kept_children():
    """Exports of all tests share their child processes."""
    with children.kept():
        yield


def _values(item):
    return {
        (name, value if isinstance(value, (str, int, float)) else repr(value))
        for name, value in item.callspec.params.items()
    }


def _cover(cases):
    used = collections.Counter()
    missing, chosen = set().union(*cases.values()), []
    while missing:
        item = max(
            cases, key=lambda case: (
                len(cases[case] & missing), -sum(used[v] for v in cases[case])
            ),
        )
        chosen.append(item)
        missing -= cases[item]
        used.update(cases[item])
    return set(chosen)


def slow_but(quick, values):
    """Parameters of which all but some are slow."""
    return [
        value if value in quick else pytest.param(
            *(value if isinstance(value, tuple) else (value,)),
            marks=pytest.mark.slow,
        )
        for value in values
    ]


def modes(steps):
    """The ways to run a step that differ under the backend."""
    found = {
        "graph": {},
        "jit": {"jit_compile": True},
        "eager": {"run_eagerly": True},
        "steps_per_execution": {"steps_per_execution": steps},
    }
    if BACKEND != "tensorflow":
        del found["jit"]
    if BACKEND == "torch":
        del found["eager"], found["steps_per_execution"]
    return found


def only(*backends, because):
    """Skips a test under other backends of Keras."""
    return pytest.mark.skipif(
        BACKEND not in backends,
        reason=f"under {' and '.join(backends)} only: {because}",
    )


@functools.cache
def has_channels_first():
    """Whether convolutions with channels first run on this processor."""
    layer = keras.layers.Conv2D(1, 1, data_format="channels_first")
    try:
        layer(np.zeros((1, 1, 2, 2), "float32"))
    # TensorFlow has them where its oneDNN kernels are in use.
    except Exception as error:
        return "NHWC" not in str(error)
    return True


def skip_channels_first(name):
    """Skips a case that this processor has no kernels for."""
    if "channels_first" in name and not has_channels_first():
        pytest.skip("TensorFlow has no NCHW convolution on this processor")


def tensorflow_only(because):
    """Skips a test of what there is under TensorFlow alone."""
    return only("tensorflow", because=because)


FLOAT64 = pytest.param(
    "float64",
    marks=only(
        "tensorflow", "torch",
        because="JAX has no float64 unless JAX_ENABLE_X64 is set",
    ),
)


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.hidden = keras.layers.Dense(12, "relu", name="hidden")
        self.norm = keras.layers.BatchNormalization(name="norm")
        self.heads = [keras.layers.Dense(4, name="logits")]

    def call(self, inputs):
        return self.heads[0](self.norm(self.hidden(inputs)))


def sequential():
    return keras.Sequential(
        [
            keras.Input((10,)),
            keras.layers.Dense(16, "relu", name="fc1"),
            keras.layers.Dense(4, name="logits"),
        ]
    )


def functional():
    inputs = keras.Input((10,))
    x = keras.layers.Dense(12, "relu", name="fc1")(inputs)
    x = keras.layers.BatchNormalization(name="norm")(x)
    x = keras.layers.Dropout(0.2, seed=3, name="drop")(x)
    x = keras.layers.Add(name="skip")(
        [x, keras.layers.Dense(12, "relu", name="fc2")(x)]
    )
    return keras.Model(inputs, keras.layers.Dense(4, name="logits")(x))


def subclassed():
    model = Subclassed()
    model(np.zeros((1, 10), "float32"))
    return model


MODELS = {
    "sequential": sequential,
    "functional": functional,
    "subclassed": subclassed,
}


def loss():
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


@pytest.fixture(autouse=True)
def without_muon_where_keras_broke_it(request):
    if "muon" in request.node.name.lower() and keras.__version__ < "3.13":
        pytest.skip("the Muon of Keras 3.12 fails in any `fit`")


@pytest.fixture(autouse=True)
def seeded():
    keras.utils.clear_session(free_memory=False)
    keras.utils.set_random_seed(0)
    policy = keras.config.dtype_policy()
    yield
    keras.config.set_dtype_policy(policy)


@pytest.fixture
def deterministic():
    """Makes every op deterministic, for comparisons bit for bit.

    Keras refuses `jit_compile` meanwhile. Other backends are deterministic
    on a CPU.
    """
    if BACKEND != "tensorflow":
        yield
        return
    import tensorflow as tf
    from tensorflow.python.framework import config as tensorflow_config

    tf.config.experimental.enable_op_determinism()
    yield
    tensorflow_config.disable_op_determinism()


@pytest.fixture(params=MODELS)
def any_model(request):
    return MODELS[request.param]()


@pytest.fixture
def data():
    """96 samples of 10 features and 4 classes that can be learned."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(96, 10)).astype("float32")
    y = np.argmax(x @ rng.normal(size=(10, 4)), axis=1)
    return x, y


@pytest.fixture
def compiled():
    model = functional()
    model.compile("adam", loss(), metrics=["accuracy"])
    return model


def random_masks(model, density=0.3, seed=0):
    """Masks of a model's prunable weights, with at least one weight kept."""
    import tf_lottery as tfl

    rng = np.random.default_rng(seed)
    masks = {}
    for key, variable in tfl.weights.prunable(model).items():
        mask = rng.random(tuple(variable.shape)) < density
        mask.flat[0] = True
        masks[key] = mask
    return masks


class BatchEnds(keras.callbacks.Callback):
    """Counts weights that are not zero where they must be, at batch ends."""

    def __init__(self, keys=None):
        super().__init__()
        self.revived = self.seen = 0
        self.densities = []

    def on_train_batch_end(self, batch, logs=None):
        import tf_lottery as tfl

        variables = tfl.weights.variables(self.model)
        masks = tfl.masks_of(self.model)
        for key, mask in masks.items():
            value = np.asarray(
                keras.ops.convert_to_numpy(variables[key]), "float32"
            )
            self.revived += int(np.count_nonzero(value[~mask]))
            self.seen += int((~mask).sum())
        self.densities.append(
            sum(m.sum() for m in masks.values())
            / sum(m.size for m in masks.values())
        )
