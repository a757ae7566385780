"""Targets: what files are made for."""

from tf_lottery.export import vela
from tf_lottery.export.targets import ethos_u
from tf_lottery.export.targets import micro as micro
from tf_lottery.export.targets.arm import Arm as Arm
from tf_lottery.export.targets.ethos_u import EthosU as EthosU
from tf_lottery.export.targets.fastest import CPU as CPU
from tf_lottery.export.targets.fastest import Auto as Auto
from tf_lottery.export.targets.micro import Micro as Micro
from tf_lottery.export.targets.smallest import Flash as Flash
from tf_lottery.export.targets.smallest import Size as Size
from tf_lottery.export.targets.target import Target as Target

_FOUND = {
    found.name: found
    for found in (Auto(), Size(), Flash(), CPU(), Arm(), Micro())
}
TARGETS = (*_FOUND, *ethos_u.DEFAULTS)


def get(
    target: str | Target,
    accelerator: str | None = None,
    system_config: str | None = None,
    memory_mode: str | None = None,
) -> Target:
    """Returns the `Target` of a name.

    Args:
        target: String, one of `TARGETS` or of `vela.ACCELERATORS`, or a
            `Target`.
        accelerator: String, one of `vela.ACCELERATORS` that belongs to the
            target. Defaults to the target's own, or none.
        system_config: String, see `EthosU`. Defaults to `None`.
        memory_mode: String, see `EthosU`. Defaults to `None`.

    Raises:
        ValueError: If there is no such target, or it has no such accelerator.

    Example:

    >>> tfl.export.targets.get("micro").dtypes
    ('float32', 'int8')
    """
    name = target if isinstance(target, str) else None
    if accelerator is not None:
        own = [
            known for known in vela.ACCELERATORS
            if name in ethos_u.DEFAULTS and known.startswith(name)
        ]
        if accelerator not in own:
            raise ValueError(
                f"Argument `accelerator` must be one of {own or 'none'} for "
                f"this target. Received: accelerator={accelerator!r}, "
                f"target={target!r}"
            )
    accelerator = accelerator or ethos_u.DEFAULTS.get(name, name)
    if accelerator in vela.ACCELERATORS:
        return EthosU(accelerator, system_config, memory_mode)
    if system_config is not None or memory_mode is not None:
        raise ValueError(
            "Only an Ethos-U has a system configuration and a memory mode. "
            f"Received: target={target!r}, system_config={system_config!r}, "
            f"memory_mode={memory_mode!r}"
        )
    if isinstance(target, Target):
        return target
    if name in _FOUND:
        return _FOUND[name]
    raise ValueError(
        f"Argument `target` must be one of {list(TARGETS)}. "
        f"Received: target={target!r}"
    )
