"""Compression: what each part of a model may lose, and what that costs."""

from tf_lottery.compression.candidates import Candidate as Candidate
from tf_lottery.compression.compress import compress as compress
from tf_lottery.compression.readings import Reading as Reading
from tf_lottery.compression.readings import Sensitivity as Sensitivity
from tf_lottery.compression.result import CompressionResult as CompressionResult
from tf_lottery.compression.sensitivity import sensitivity as sensitivity
