"""The model zoo, augmentation, streamed images, learning rates."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_lottery as tfl
from tf_lottery import experiments
from tf_lottery.experiments import augmentation
from tf_lottery.experiments import bench
from tf_lottery.experiments import datasets
from tf_lottery.experiments import feeds
from tf_lottery.experiments import models
from tf_lottery.experiments import optimizers
from tf_lottery.experiments import pipeline
from tf_lottery.experiments import streaming

MNIST, CIFAR = (28, 28, 1), (32, 32, 3)


def size(shapes):
    return sum(int(np.prod(shape)) for shape in shapes)


def test_halved_images(monkeypatch):
    rng = np.random.default_rng(0)
    large, small = {}, {}
    for part, n in (("train", 5010), ("test", 10)):
        images = rng.integers(0, 256, (n, 2, 2, 3), "uint8")
        labels = np.arange(n) % 10
        small[part] = images, labels
        # Four pixels around each value, whose mean it is.
        blocks = images.repeat(2, 1).repeat(2, 2).astype("int64")
        blocks[:, ::2] += 1
        blocks[:, 1::2] -= 1
        large[part] = blocks.clip(0, 255), labels
    monkeypatch.setattr(datasets, "_read_tfds", lambda name: large)
    found = datasets.load("cifar10_16x16")
    monkeypatch.setattr(datasets, "_read_tfds", lambda name: small)
    whole = datasets.load("cifar10")
    assert found.image_shape == (2, 2, 3)
    for name in ("x_train", "x_val", "x_test"):
        np.testing.assert_allclose(
            getattr(found, name), getattr(whole, name), atol=0.02
        )


class TestModels:
    # The published numbers, in thousands: all weights, and convolutions.
    @pytest.mark.parametrize(
        "name, shape, whole, convolutional",
        [
            ("lenet_300_100", MNIST, 266, 0),
            ("lenet_5", MNIST, 431, 26),
            ("conv_2", CIFAR, 4_300, 38),
            ("conv_4", CIFAR, 2_400, 260),
            # The paper's 1.7M contradicts its own layers.
            ("conv_6", CIFAR, 2_262, 1_100),
            ("resnet_20", CIFAR, 274, 270),
            ("resnet_20_narrow", (16, 16, 3), 69.6, 68),
            ("vgg_19", CIFAR, 20_000, 20_000),
            ("squeezenet", (64, 64, 3), 1_248, 1_244),
        ],
    )
    def test_has_the_published_size(self, name, shape, whole, convolutional):
        classes = 1000 if name == "squeezenet" else 10
        model = models.get(name)(shape, classes)
        found = tfl.weights.prunable(model).values()
        kernels = [v.shape for v in found if len(v.shape) == 4]
        assert model.count_params() == pytest.approx(1000 * whole, rel=0.012)
        assert size(kernels) == pytest.approx(1000 * convolutional, rel=0.045)
        assert model.output_shape == (None, classes)
        assert list(tfl.weights.prunable(model))[-1] == "logits/kernel"

    @pytest.mark.slow
    @pytest.mark.parametrize(
        "name, shape, parameters",
        [
            ("resnet_50", (64, 64, 3), 25_636_712),
            ("inception_v3", (75, 75, 3), 23_851_784),
        ],
    )
    def test_imagenet(self, name, shape, parameters):
        one, two = (models.get(name)(shape, 1000, seed) for seed in (1, 1))
        assert one.count_params() == parameters
        assert [w.path for w in one.weights] == [w.path for w in two.weights]
        for key, variable in tfl.weights.prunable(one).items():
            other = tfl.weights.prunable(two)[key]
            np.testing.assert_array_equal(variable, other)
        assert one.layers[-1].activation is keras.activations.linear

    @pytest.mark.some(1)
    @pytest.mark.parametrize(
        "name", ["lenet_5", "conv_2", "resnet_20", "vgg_19", "squeezenet"]
    )
    def test_is_seeded_and_every_layer_differs(self, name):
        def kernels(seed):
            model = models.get(name)(CIFAR, 10, seed)
            return [v.numpy() for v in tfl.weights.prunable(model).values()]

        one, same, other = kernels(1), kernels(1), kernels(2)
        for a, b, c in zip(one, same, other):
            assert np.array_equal(a, b) and not np.array_equal(a, c)
        starts = [tuple(kernel.ravel()[:4] / kernel.std()) for kernel in one]
        assert len(set(starts)) == len(starts)

    def test_resnet_20_is_glorot_normal(self):
        model = models.resnet_20(CIFAR)
        kernel = model.get_layer("stage3_2_conv1").kernel.numpy()
        deviation = (2 / (2 * 9 * 64)) ** 0.5
        assert kernel.std() == pytest.approx(deviation, rel=0.03)

    @pytest.mark.slow
    def test_resnet_50_is_he_normal(self):
        model = models.resnet_50((32, 32, 3), 10)
        kernel = model.get_layer("conv3_block1_2_conv").kernel.numpy()
        assert kernel.std() == pytest.approx((2 / (9 * 128)) ** 0.5, rel=0.03)


class TestCropAndFlip:
    x = np.random.default_rng(0).normal(size=(64, 9, 7, 2)).astype("float32")

    def test_each_image_is_a_crop_of_the_padded_one(self):
        found = augmentation.crop_and_flip(self.x, (0, 3)).numpy()
        seen = set()
        for image, changed in zip(self.x, found):
            padded = np.pad(image, ((4, 4), (4, 4), (0, 0)))
            crops = {
                (down, right, flip): padded[
                    down:down + 9, right:right + 7
                ][:, ::flip]
                for down in range(9) for right in range(9) for flip in (1, -1)
            }
            fitting = [
                key for key, crop in crops.items()
                if np.array_equal(crop, changed)
            ]
            assert fitting
            seen.add(fitting[0])
        for values, extremes in zip(zip(*seen), ((0, 8), (0, 8), (-1, 1))):
            assert (min(values), max(values)) == extremes

    def test_follows_from_the_seed(self):
        one, same, other = (
            augmentation.crop_and_flip(self.x, seed).numpy()
            for seed in ((0, 3), (0, 3), (0, 4))
        )
        assert np.array_equal(one, same) and not np.array_equal(one, other)

    @pytest.mark.parametrize("step", [0, 3, 5])
    def test_batches_are_exact_wherever_they_begin(self, step):
        x = np.arange(14 * 64, dtype="float32").reshape(14, 8, 8, 1)
        batches = pipeline.Batches(
            x, np.arange(14), 4, 6, 1, augmentation.crop_and_flip
        )
        whole = list(batches.dataset.take(6).as_numpy_iterator())
        model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        model.compile("sgd", "mse")
        model.optimizer.iterations.assign(step)
        batches.set_model(model)
        batches.on_epoch_begin(0)
        later = list(batches.dataset.take(6 - step).as_numpy_iterator())
        for (a, b), (c, d) in zip(whole[step:], later, strict=True):
            assert np.array_equal(a, c) and np.array_equal(b, d)
        assert not np.array_equal(whole[0][0], x[whole[0][1]])


@pytest.fixture(scope="module")
def imagenet(tmp_path_factory):
    """A prepared `imagenet2012` of 300 small images and 5 classes."""
    import tensorflow_datasets as tfds

    path = tmp_path_factory.mktemp("imagenet")
    names = [f"class{i}" for i in range(5)]

    class Imagenet2012(
        tfds.core.GeneratorBasedBuilder, skip_registration=True
    ):
        VERSION = tfds.core.Version(_version())

        def _info(self):
            return tfds.core.DatasetInfo(
                builder=self,
                features=tfds.features.FeaturesDict({
                    "image": tfds.features.Image(encoding_format="jpeg"),
                    "label": tfds.features.ClassLabel(names=names),
                    "file_name": tfds.features.Text(),
                }),
                supervised_keys=("image", "label"),
            )

        def _split_generators(self, manager):
            return {
                "train": self._generate_examples(0, 300),
                "validation": self._generate_examples(300, 30),
            }

        def _generate_examples(self, first, count):
            rng = np.random.default_rng(first)
            for i in range(count):
                shape = (40 + i % 9, 60 - i % 7, 3)
                image = np.full(shape, 40 * (i % 5) + 20, "uint8")
                image += rng.integers(0, 20, shape, "uint8")
                yield i, {"image": image, "label": i % 5,
                          "file_name": f"{i}.JPEG"}

    builder = Imagenet2012(data_dir=path)
    builder.download_and_prepare()
    return path


def _version():
    import tensorflow_datasets as tfds

    return str(tfds.builder_cls("imagenet2012").VERSION)


@pytest.fixture
def images(imagenet, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(imagenet))
    found = streaming.Streamed("imagenet2012", 32)
    # The stand-in has a class for each brightness; the real one has 1000.
    found.classes = 5
    return found


class TestStreamed:
    def test_parts(self, images):
        assert images.image_shape == (32, 32, 3) and images.examples == 297
        for part, count in (("val", 3), ("test", 30)):
            batches = list(images.evaluation(part).as_numpy_iterator())
            assert sum(len(y) for _, y in batches) == count
            x, y = batches[0]
            assert x.shape[1:] == images.image_shape and x.dtype == "float32"
            # The brightness tells the class.
            level = (x * streaming.DEVIATION + streaming.MEAN).mean((1, 2, 3))
            assert ((level - 20) // 40 == y).all()

    @pytest.mark.some(1)
    @pytest.mark.parametrize("step", [0, 5, 36, 38])
    def test_a_step_has_one_batch(self, images, step):
        # 37 batches of 8 are a pass.
        whole = streaming.StreamedBatches(images, 8, 40, seed=3)
        expected = list(whole.dataset.take(40).as_numpy_iterator())
        again = streaming.StreamedBatches(images, 8, 40, seed=3)
        again.move_to(step)
        found = list(again.dataset.take(2).as_numpy_iterator())
        for (a, b), (c, d) in zip(expected[step:], found):
            assert np.array_equal(a, c) and np.array_equal(b, d)

    def test_goes_back_while_it_is_read(self, images):
        batches = streaming.StreamedBatches(images, 8, 40, seed=3)
        iterator = iter(batches.dataset)
        first = [next(iterator)[0].numpy() for _ in range(3)]
        batches.move_to(1)
        again = [next(iterator)[0].numpy() for _ in range(2)]
        np.testing.assert_array_equal(first[1:], again)

    def test_passes_differ(self, images):
        one, two = (
            next(images.one_pass(0, number, 8, 0).as_numpy_iterator())[0]
            for number in (0, 1)
        )
        assert not np.array_equal(one, two)

    def test_too_large_a_batch(self, images):
        with pytest.raises(ValueError, match="at most 297"):
            streaming.StreamedBatches(images, 300, 1, 0)

    def test_missing(self, tmp_path, monkeypatch):
        monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
        with pytest.raises(experiments.DatasetUnavailableError) as caught:
            streaming.Streamed("imagenet2012", 32)
        for words in (str(tmp_path), "by hand", "TFDS_DATA_DIR"):
            assert words in str(caught.value)

    @pytest.mark.slow
    def test_the_preset_runs(self, images, monkeypatch, tmp_path):
        monkeypatch.setattr(feeds, "load", lambda preset: images)
        preset = experiments.preset(
            "squeezenet-imagenet", image_size=32, batch_size=8, iterations=4,
            evaluate_every=2, rewind_to="2it", rounds=1, compare=(),
        )
        trial = experiments.run(preset, tmp_path).trials[0]
        assert trial.rounds[1].density == pytest.approx(0.8, abs=1e-3)


class TestLearningRates:
    def test_drops_and_warm_up(self):
        preset = experiments.preset("vgg19-cifar10-warmup")
        rate = optimizers.of(preset).learning_rate
        assert preset.warmup_steps == 10_000
        assert preset.drop_steps == [56_000, 84_000]
        schedule = optimizers._learning_rate(preset)
        found = [float(schedule(s)) for s in (
            0, 4_999, 9_999, 55_999, 56_000, 83_999, 84_000, 111_999,
        )]
        assert found == pytest.approx(
            [1e-5, 0.05, 0.1, 0.1, 0.01, 0.01, 0.001, 0.001], rel=1e-5
        )
        assert float(rate) == pytest.approx(1e-5, rel=1e-5)

    def test_resnet_20_drops_where_the_paper_says(self):
        preset = experiments.preset("resnet20-cifar10-warmup")
        assert preset.drop_steps == [20_000, 25_000]
        assert preset.warmup_steps == 20_000

    @pytest.mark.parametrize(
        "decay, expected",
        [("linear", [1, 0.5, 0]), ("cosine", [1, 0.5, 0]), ("steps", [1] * 3)],
    )
    def test_decay(self, decay, expected):
        rate = optimizers.WarmUpAndDecay(1.0, 100, decay)
        found = [float(rate(step)) for step in (0, 50, 100)]
        assert found == pytest.approx(expected, abs=1e-6)

    def test_unknown(self):
        with pytest.raises(ValueError, match="`decay`.*linear"):
            optimizers.WarmUpAndDecay(decay="never")

    def test_weight_decay_is_an_l2_penalty(self):
        """It equals SGD on a loss with the penalty in it."""
        value = np.array([1.0, -2.0, 3.0], "float32")
        ours, plain = keras.Variable(value), keras.Variable(value)
        one = optimizers.L2SGD(0.1, 0.9, penalty=0.01)
        two = keras.optimizers.SGD(0.1, 0.9)
        for step in range(5):
            gradient = np.full(3, step, "float32")
            one.apply([tf.constant(gradient)], [ours])
            penalty = 0.01 * plain.numpy()
            two.apply([tf.constant(gradient + penalty)], [plain])
        np.testing.assert_allclose(ours, plain, rtol=1e-6)

    @pytest.mark.parametrize("name", experiments.PRESETS)
    def test_every_preset_has_an_optimizer(self, name):
        preset = experiments.preset(name)
        found = optimizers.of(preset)
        kind = keras.optimizers.Adam
        if preset.optimizer == "sgd":
            kind = optimizers.L2SGD
            assert found.momentum == 0.9
            assert found.penalty == preset.weight_decay
        assert type(found) is kind


@pytest.mark.slow
def test_a_deep_preset_trains(tmp_path, monkeypatch):
    """Augmentation, schedule, weight decay and exclusion, all at once."""
    rng = np.random.default_rng(0)
    arrays = []
    for count in (64, 16, 16):
        arrays += [
            rng.normal(size=(count, 8, 8, 3)).astype("float32"),
            rng.integers(0, 10, count).astype("int32"),
        ]
    monkeypatch.setattr(
        feeds, "load", lambda _: datasets.Data("cifar10", 10, *arrays)
    )
    preset = experiments.preset(
        "resnet20-cifar10", batch_size=8, iterations=6, evaluate_every=2,
        rewind_to="2it", rounds=1, compare=("one-shot",), control_every=1,
    )
    trial = experiments.run(preset, tmp_path).trials[0]
    assert trial.rounds[1].density == pytest.approx(0.8, abs=1e-4)
    assert len(trial.rounds[1].controls["one_shot"]) == 1
    files = tfl.runs.run_directory.RunDirectory(tmp_path / "trial-0")
    masks = files.load_masks(1)
    assert "logits/kernel" not in masks and len(masks) == 21
    found = bench.Bench(preset, feeds.load(preset))
    assert found.model.steps_per_execution == 2
