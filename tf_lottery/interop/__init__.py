"""Models of other toolkits, without importing these."""

from tf_lottery.interop.tfmot import from_tfmot as from_tfmot
