"""The version of this program, which lies with its code: installed, in a checkout, or in a pipeline's copy of it."""

__version__ = "0.1.0"
