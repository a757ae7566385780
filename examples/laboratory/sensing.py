"""Tasks of small devices, with data and networks that Python packages ship."""

import ctypes
import dataclasses
import datetime
import functools
import importlib.util
import pathlib
import warnings
from typing import Any

import keras
import numpy as np

from tf_lottery import criteria
from tf_lottery import experiments

layers = keras.layers
RATE = 16_000
WORDS = (
    "yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go",
)
ACCENTS = ("en-us", "en-gb-x-rp", "en-gb-scotland", "en-029")
# Half a minute each, of sleep.
STEPS = 20
# Images whose outputs all lie this near the dense network's agree with it.
NEAR = 0.05


@dataclasses.dataclass(frozen=True)
class Task:
    """A network and all that is needed to train and to judge it.

    Attributes:
        title: String.
        net: `keras.Model`.
        train: Tuple of inputs and targets.
        test: Tuple of inputs and labels.
        score: Function of labels and outputs, a share of 1.
        loss: What Keras takes as `loss`, or `None` if it is trained already.
        taught: The same for later steps, towards the outputs of the dense
            network, or `None` if they have the labels too.
        epochs: Integer, of the dense network.
        more: Integer, the epochs of each later step; to prune, twice as many.
        rate: Float, the first learning rate of later steps.
        sparsity: Float.
        criterion: Criterion by which all is pruned at once, or `None`: by
            magnitude, little by little.
    """

    title: str
    net: keras.Model
    train: tuple[Any, Any]
    test: tuple[Any, Any]
    score: Any
    loss: Any = None
    taught: Any = None
    epochs: int = 0
    more: int = 8
    rate: float = 1e-3
    sparsity: float = 0.8
    criterion: Any = None


def right(labels, outputs):
    """Returns the share of right answers."""
    return float(np.mean(np.argmax(outputs, axis=-1) == labels))


def balanced(labels, outputs):
    """Returns the share of right answers, the mean over the classes."""
    hits = np.argmax(outputs, axis=-1) == labels
    return float(np.mean([hits[labels == n].mean() for n in set(labels.flat)]))


def near(labels, outputs):
    """Returns the share of samples with all outputs near to what they were."""
    apart = np.concatenate(
        [np.abs(np.subtract(*pair)) for pair in zip(labels, outputs)], axis=-1
    )
    return float(np.mean(apart.max(axis=-1) < NEAR))


def digits(seed):
    """LeNet-300-100 on the digits of scikit-learn, to try the script."""
    data = experiments.load("digits")
    net = experiments.models.get("lenet_300_100")(
        data.image_shape, data.classes, seed
    )
    return Task(
        "LeNet-300-100, handwritten digits", net,
        (data.x_train, data.y_train), (data.x_test, data.y_test), right,
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        epochs=20, more=15, sparsity=0.9,
    )


def keywords(seed):
    """DS-CNN (arXiv:1711.07128, small) on words that espeak-ng speaks.

    Voices of the test set are not in the training set. What the later steps
    do was chosen by voices of the training set that were left out for it.
    """
    train, test = _speech()
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((49, 10, 1))
    x = _block(layers.Conv2D(64, (10, 4), 2, "same", use_bias=False), inputs)
    for _ in range(4):
        x = _block(layers.DepthwiseConv2D(3, padding="same", use_bias=False), x)
        x = _block(layers.Conv2D(64, 1, use_bias=False), x)
    x = layers.GlobalAveragePooling2D()(x)
    net = keras.Model(inputs, layers.Dense(len(WORDS), name="logits")(x))
    return Task(
        f"DS-CNN, {len(WORDS)} spoken words (synthetic speech)", net, train,
        test, right,
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        taught="mse", epochs=12,
    )


def _block(layer, x):
    return layers.ReLU()(layers.BatchNormalization(momentum=0.9)(layer(x)))


@functools.cache
def _speech():
    """Returns training and test set: 49 x 10 MFCCs of a second, and words."""
    lib, voices = _espeak()
    rng = np.random.default_rng(0)
    sets = {True: ([], []), False: ([], [])}
    for i, voice in enumerate(voices):
        x, y = sets[i % 4 == 3]
        for accent in ACCENTS:
            lib.espeak_SetVoiceByName(f"{accent}+{voice}".encode())
            for label, word in enumerate(WORDS):
                for _ in range(2):
                    x.append(_placed(_spoken(lib, word, rng), rng))
                    y.append(label)
    found = {
        key: (_mfccs(np.stack(x)), np.array(y)) for key, (x, y) in sets.items()
    }
    mean, scale = found[False][0].mean(0), found[False][0].std(0)
    return [
        ((x - mean) / scale, y) for x, y in (found[False], found[True])
    ]


_heard = []


@ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
)
def _hear(sound, length, _):
    if sound and length > 0:
        _heard.append(np.ctypeslib.as_array(sound, (length,)).copy())
    return 0


def _espeak():
    """Returns the library of espeak-ng, and the names of its speakers."""
    _folder("espeakng_loader", "espeakng-loader")
    import espeakng_loader

    lib = espeakng_loader.load_library()
    place = espeakng_loader.get_data_path()
    # Sounds come back to a function, at 22,050 Hz.
    lib.espeak_Initialize(2, 0, place.encode(), 0)
    lib.espeak_SetSynthCallback(_hear)
    # Of the breath of some voices.
    lib.espeak_ng_SetRandSeed(1)
    return lib, sorted(
        path.name for path in pathlib.Path(place, "voices", "!v").iterdir()
    )


def _spoken(lib, word, rng):
    """Returns a word at a random speed and pitch, at `RATE`."""
    lib.espeak_SetParameter(1, int(rng.integers(110, 220)), 0)
    lib.espeak_SetParameter(3, int(rng.integers(25, 75)), 0)
    _heard.clear()
    lib.espeak_Synth(word.encode(), len(word) + 1, 0, 1, 0, 1, None, None)
    sound = np.concatenate(_heard) / 2**15
    steps = np.arange(0, len(sound), 22_050 / RATE)
    return np.interp(steps, np.arange(len(sound)), sound)


def _placed(sound, rng):
    """Returns a second with a sound somewhere in it, and noise of 5-20 dB."""
    loud = np.flatnonzero(np.abs(sound) > 0.02 * np.abs(sound).max())
    sound = sound[loud[0]:loud[-1] + 1][:RATE] if len(loud) else sound[:RATE]
    power = np.sqrt(np.mean(sound**2)) + 1e-9
    start = rng.integers(0, RATE - len(sound) + 1)
    noise = rng.normal(size=RATE) * power * 10**(-rng.uniform(5, 20) / 20)
    noise[start:start + len(sound)] += sound
    return (noise / np.abs(noise).max()).astype("float32")


def _mfccs(sounds):
    import tensorflow as tf

    weights = tf.signal.linear_to_mel_weight_matrix(40, 513, RATE, 20, 4000)
    found = []
    for part in np.array_split(sounds, -(-len(sounds) // 256)):
        spectra = tf.abs(tf.signal.stft(part, 640, 320, 1024))
        mels = tf.math.log(spectra @ weights + 1e-6)
        mfccs = tf.signal.mfccs_from_log_mel_spectrograms(mels)
        found.append(mfccs[:, :49, :10, None].numpy())
    return np.concatenate(found)


def activities(seed):
    """A small convolutional network on the motions of a smart watch."""
    train, test = _motions("TRAIN"), _motions("TEST")
    mean, scale = train[0].mean((0, 1)), train[0].std((0, 1))
    keras.utils.set_random_seed(seed)
    net = keras.Sequential([
        keras.Input((100, 6)),
        layers.Conv1D(32, 5, 2, "same", activation="relu"),
        layers.Conv1D(64, 5, 2, "same", activation="relu"),
        layers.Conv1D(64, 5, 2, "same", activation="relu"),
        layers.Flatten(),
        layers.Dense(64, "relu"),
        layers.Dense(4, name="logits"),
    ])
    return Task(
        "Convolutions, 4 activities (BasicMotions)", net,
        ((train[0] - mean) / scale, train[1]),
        ((test[0] - mean) / scale, test[1]), right,
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        epochs=60, more=60, sparsity=0.9,
    )


def _motions(part):
    """Reads one half of BasicMotions: 40 series of 100 steps, 6 channels."""
    folder = _folder("aeon", "aeon") / "datasets" / "data" / "BasicMotions"
    text = (folder / f"BasicMotions_{part}.ts").read_text(encoding="utf-8")
    x, names = [], []
    for line in text.partition("@data")[2].split():
        *channels, name = line.split(":")
        x.append(np.array([c.split(",") for c in channels], "float32").T)
        names.append(name)
    return np.stack(x), np.unique(names, return_inverse=True)[1]


def faces(seed):
    """ONet of MTCNN (arXiv:1604.02878), as mtcnn ships it, without faces.

    Trained on towards the outputs of the dense network on photographs, and
    pruned by least squares, which need no labels either.
    """
    _folder("lz4", "mtcnn")
    folder = _folder("mtcnn", "mtcnn") / "assets" / "weights"
    import joblib

    inputs = x = keras.Input((48, 48, 3))
    for i, (width, size, pool, padding) in enumerate((
        (32, 3, 3, "same"), (64, 3, 3, "valid"), (64, 3, 2, "same"),
        (128, 2, None, None),
    ), 1):
        x = layers.Conv2D(width, size, name=f"conv{i}")(x)
        x = layers.PReLU(shared_axes=(1, 2), name=f"prelu{i}")(x)
        if pool:
            x = layers.MaxPooling2D(pool, 2, padding)(x)
    x = layers.Flatten()(layers.Permute((2, 1, 3))(x))
    x = layers.PReLU(name="prelu5")(layers.Dense(256, name="fc5")(x))
    net = keras.Model(inputs, [
        layers.Dense(4, name="box")(x),
        layers.Dense(10, name="landmarks")(x),
        layers.Dense(2, "softmax", name="face")(x),
    ])
    net.set_weights(joblib.load(folder / "onet.lz4"))
    # Rate and sparsity were chosen on the test images: others judge here.
    images = experiments.load("cifar10").x_train
    x, x_test = (
        np.asarray(keras.ops.image.resize(_pixels(some), (48, 48)))
        for some in (images[:4_000], images[-2_000:])
    )
    return Task(
        "ONet of MTCNN, agreement (CIFAR-10, no labels)", net,
        (x, None), (x_test, net.predict(x_test, verbose=0)), near,
        taught="mse", more=3, rate=2e-4, sparsity=0.5,
        criterion=criteria.OBC(data=x[:1_500]),
    )


def _pixels(images):
    """Returns images as MTCNN takes them, in [-1, 1]."""
    images = np.asarray(images, "float32")
    low, high = images.min(), images.max()
    return 2 * (images - low) / (high - low) - 1


def sleep(seed):
    """The Bi-GRU of sleepecg, trained on MESA, on made-up heartbeats.

    Ten minutes at a time, unrolled. The first layer, which brings features
    to one scale, is left to the program that computes them.
    """
    _folder("sleepecg", "sleepecg[full]")
    import sleepecg

    known = sleepecg.load_classifier("wrn-gru-mesa", "SleepECG")
    _, scaling, *rest = known.model.layers
    net = keras.Sequential([keras.Input((STEPS, 36))])
    for layer in rest:
        if isinstance(layer, layers.Bidirectional):
            layer = layers.Bidirectional(
                layers.GRU(8, return_sequences=True, unroll=True)
            )
        net.add(type(layer).from_config(layer.get_config()))
    net.set_weights([w for layer in rest for w in layer.get_weights()])
    rng = np.random.default_rng(seed)
    x, x_test = (_nights(known, scaling, n, rng) for n in (24, 12))
    return Task(
        "Bi-GRU of sleepecg, agreement (made-up heartbeats, no labels)", net,
        (x, None), (x_test, net.predict(x_test, verbose=0).argmax(-1)),
        balanced, taught="categorical_crossentropy", more=60, sparsity=0.6,
    )


def _nights(known, scaling, number, rng):
    """Returns sleepecg's features of made-up nights, every 30 seconds."""
    import sleepecg

    records = [
        sleepecg.SleepRecord(
            sleep_stage_duration=30, heartbeat_times=_heartbeats(rng),
            recording_start_time=datetime.time(22),
            subject_data=sleepecg.SubjectData(
                age=int(rng.integers(20, 80)), gender=int(rng.integers(2))
            ),
        ) for _ in range(number)
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        nights, *_ = sleepecg.extract_features(
            records, **known.feature_extraction_params
        )
    found = []
    for night in nights:
        night[~np.isfinite(night)] = known.mask_value
        night = night[:len(night) // STEPS * STEPS].astype("float32")
        found.append(np.clip(scaling(night[None]), -4, 4))
    return np.concatenate(found, axis=1).reshape(-1, STEPS, 36)


def _heartbeats(rng, hours=4):
    """Returns times of heartbeats whose rate and variability change."""
    beats, time, drift, level = [], 0.0, 0.0, rng.uniform(0.75, 1.1)
    slow, fast, spread = rng.uniform(0, 0.06, 3)
    while time < 3600 * hours:
        if rng.random() < 1 / 600:
            slow, fast, spread = rng.uniform(0, 0.06, 3)
            level = np.clip(level + 0.05 * rng.normal(), 0.65, 1.3)
        drift = 0.99 * drift + 0.003 * rng.normal()
        breath = slow * np.sin(0.2 * np.pi * time)
        breath += fast * np.sin(0.5 * np.pi * time)
        time += max(
            0.35, level + drift + breath + 0.3 * spread * rng.normal()
        )
        beats.append(time)
    return np.array(beats)


def _folder(module, package):
    """Returns the folder of an optional package."""
    found = importlib.util.find_spec(module)
    if found is None:
        raise SystemExit(
            f"This task takes what another package ships: pip install {package}"
        )
    return pathlib.Path(found.origin).parent


TASKS = {
    task.__name__: task for task in (keywords, activities, faces, sleep, digits)
}
