"""Arm's compiler for Ethos-U, Vela, in a child process: what it says.

All of its figures are estimates: nothing of it has run on hardware. Reference:
https://gitlab.arm.com/artificial-intelligence/ethos-u/ethos-u-vela
"""

import csv
import dataclasses
import importlib.util
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

ACCELERATORS = (
    "ethos-u55-32", "ethos-u55-64", "ethos-u55-128", "ethos-u55-256",
    "ethos-u65-256", "ethos-u65-512", "ethos-u85-128", "ethos-u85-256",
    "ethos-u85-512", "ethos-u85-1024", "ethos-u85-2048",
)
_SECONDS = 600
_KIB = 1024
# Vela's words for a memory, and for the cycles that it takes.
_MEMORIES = {
    "SRAM": "SRAM AC",
    "DRAM": "DRAM AC",
    "On-chip Flash": "OnFlash AC",
    "Off-chip Flash": "OffFlash AC",
}
# Why an operator is left to the CPU: up to the next empty line.
_REFUSED = re.compile(
    r"operator: (\w+), ofm: '(.*?)'\s*\nReason: (.*?)(?:\n\s*\n|\Z)", re.S
)
_ERROR = re.compile(r"^.*Error: (.*)$", re.M)


class CompilationError(ValueError):
    """Vela does not compile a file."""


@dataclasses.dataclass(frozen=True)
class Operator:
    """What Vela says of one operator.

    Attributes:
        name: String, its output's name in the file.
        kind: String, such as `"FullyConnected"`.
        on_npu: Boolean, whether the NPU computes it, or the CPU.
        cycles: Integer, the estimate: the larger of the two that follow.
        mac_cycles: Integer, of the multipliers.
        memory_cycles: Integer, of the memory that keeps them waiting most.
        macs: Integer, multiplications, zeros included.
        reason: String, what its time depends on, or why it is left to the
            CPU.
    """

    name: str
    kind: str
    on_npu: bool
    cycles: int
    mac_cycles: int
    memory_cycles: int
    macs: int
    reason: str


@dataclasses.dataclass(frozen=True)
class Estimate:
    """What Vela says of a file on one accelerator: estimates, not measures.

    Attributes:
        compiler: String, Vela's name and version.
        accelerator: String, one of `ACCELERATORS`.
        system_config: String, Vela's name of clock and memories.
        memory_mode: String, Vela's name of what lies in which memory.
        nbytes: Integer, bytes of the compiled file.
        flash: Integer, bytes in flash; 0 where weights are read from DRAM.
        dram: Integer, bytes in DRAM.
        sram: Integer, bytes in SRAM.
        encoded_weights: Integer, bytes of the weights as coded for the NPU.
        original_weights: Integer, their bytes before.
        cycles: Integer, of one call.
        seconds: Float, of one call.
        operators: List of `Operator`.
    """

    compiler: str
    accelerator: str
    system_config: str
    memory_mode: str
    nbytes: int
    flash: int
    dram: int
    sram: int
    encoded_weights: int
    original_weights: int
    cycles: int
    seconds: float
    operators: list[Operator]

    @property
    def on_cpu(self) -> list[Operator]:
        """List of `Operator`, those that the NPU does not compute."""
        return [found for found in self.operators if not found.on_npu]


def command():
    """Returns the command that runs Vela, or `None` if it is not installed."""
    if importlib.util.find_spec("ethosu"):
        return [sys.executable, "-m", "ethosu.vela"]
    found = shutil.which("vela")
    return found and [found]


def compile(content, accelerator, system_config=None, memory_mode=None):
    """Returns an int8 file compiled, as bytes, and its `Estimate`.

    Raises:
        CompilationError: If Vela refuses it, or does not come to an end.
    """
    options = ["--accelerator-config", accelerator]
    for flag, value in (
        ("--system-config", system_config), ("--memory-mode", memory_mode)
    ):
        options += [] if value is None else [flag, value]
    with tempfile.TemporaryDirectory(prefix="tf_lottery-") as place:
        path = pathlib.Path(place, "m.tflite")
        path.write_bytes(content)
        said = _run(
            "--output-dir", place, "--verbose-performance",
            "--show-cpu-operations", *options, str(path), place=place,
        )
        compiled = pathlib.Path(place, "m_vela.tflite").read_bytes()
        summary, = _rows(next(pathlib.Path(place).glob("m_summary_*.csv")))
        operators = _operators(
            _rows(pathlib.Path(place, "m_per-layer.csv")),
            summary["weights_storage_area"], "u85" in accelerator, said,
        )
        version = _run("--version", place=place).strip()
    return compiled, _estimate(
        summary, operators, f"Vela {version}", accelerator, len(compiled)
    )


def _run(*arguments, place):
    """Runs Vela; returns what it prints."""
    try:
        done = subprocess.run(
            [*command(), *arguments], cwd=place, capture_output=True,
            text=True, errors="replace", timeout=_SECONDS,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        raise CompilationError(
            f"Vela did not come to an end within {_SECONDS} s."
        ) from None
    said = done.stdout + done.stderr
    if done.returncode:
        found = _ERROR.findall(said) or said.strip().splitlines() or [""]
        raise CompilationError(
            "Vela, Arm's compiler for Ethos-U, refuses this. It says: "
            f"{found[-1].strip()[:400]}"
        )
    return said


def _rows(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _estimate(summary, operators, compiler, accelerator, nbytes):
    def kib(*names):
        return sum(
            round(_KIB * float(summary[f"{name}_memory_used"]))
            for name in names
        )

    return Estimate(
        compiler, accelerator, summary["system_config"],
        summary["memory_mode"], nbytes,
        kib("on_chip_flash", "off_chip_flash"), kib("dram"), kib("sram"),
        int(float(summary["total_npu_encoded_weights"])),
        int(float(summary["total_original_weights"])),
        int(float(summary["cycles_total"])),
        float(summary["inference_time"]), operators,
    )


def _operators(rows, weights, sparse_macs, said):
    """Returns the `Operator`s of Vela's table of layers.

    `weights` names the memory that weights are read from; `sparse_macs` says
    whether multipliers skip 2:4 zeros; `said` is all that Vela printed.
    """
    refused = {
        name: f"on the CPU: {kind}: {' '.join(reason.split())}"
        for kind, name, reason in _REFUSED.findall(said)
    }
    found = []
    for row in rows:
        on_npu, cycles = row["Target"] == "NPU", int(float(row["Op Cycles"]))
        if on_npu and not cycles:
            # An activation that is part of the operator before.
            continue
        waits = {n: int(float(row[key])) for n, key in _MEMORIES.items()}
        slowest = max(waits, key=waits.get)
        macs, computes = int(float(row["MAC Count"])), int(float(row["NPU"]))
        if not on_npu:
            reason = refused.get(row["Name"], "on the CPU")
        elif waits[slowest] <= computes:
            reason = "MAC-bound: shrink" + ", or 2:4" * sparse_macs
        elif macs and slowest == weights:
            reason = "memory-bound: zeros pay"
        else:
            reason = "memory-bound, by activations"
        found.append(Operator(
            row["Name"], row["Original Operator"], on_npu, cycles, computes,
            waits[slowest], macs, reason,
        ))
    return found
