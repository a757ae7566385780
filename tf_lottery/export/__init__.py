"""TFLite and ONNX files, run and compared before they are written."""

from tf_lottery.export import check as check
from tf_lottery.export import entropy as entropy
from tf_lottery.export import targets as targets
from tf_lottery.export.check import VerificationError as VerificationError
from tf_lottery.export.children import RuntimeFailure as RuntimeFailure
from tf_lottery.export.children import installed as installed
from tf_lottery.export.convert import ConversionError as ConversionError
from tf_lottery.export.initializers import OnnxReport as OnnxReport
from tf_lottery.export.inspection import inspect as inspect
from tf_lottery.export.latency import Benchmark as Benchmark
from tf_lottery.export.latency import benchmark as benchmark
from tf_lottery.export.onnx import onnx as onnx
from tf_lottery.export.padding import explicit_padding as explicit_padding
from tf_lottery.export.report import Report as Report
from tf_lottery.export.tflite import tflite as tflite
