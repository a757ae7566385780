"""Child of `gradual`: PQuantML and dense Keras. Argument: repetitions."""

import sys

import pquant
from pquant.core.keras.train import PQuantCallback

from tests.benchmarks import fits


def pruned(config):
    config.quantization_parameters.enable_quantization = False
    config.quantization_parameters.quantize_input = False
    config.pruning_parameters.sparsity = 0.9
    callback = PQuantCallback(
        config, log_ebops=False, log_keep_ratio=False, pretraining_epochs=1,
        epochs=2, fine_tuning_epochs=1,
    )
    model = fits.compiled(
        lambda model: pquant.add_compression_layers(model, config, (128, 784))
    )
    fits.fit(model, [callback])
    return model


def pdp():
    config = pquant.pdp_config()
    # The whole of it after two epochs.
    config.pruning_parameters.epsilon = 0.5
    return pruned(config)


def wanda():
    config = pquant.wanda_config()
    # It counts epochs; 100 batches later it prunes.
    config.pruning_parameters.t_start_collecting_batch = 0
    return pruned(config)


if __name__ == "__main__":
    fits.main(
        {"PQuantML 0.1.0, PDP": pdp, "PQuantML 0.1.0, Wanda": wanda},
        int(sys.argv[1]),
    )
