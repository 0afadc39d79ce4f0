"""The program on a GPU: `make test-gpu`. The ordinary tests run those on the CPU that say something there."""
