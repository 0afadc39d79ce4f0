"""DenseNet, EfficientNet, MaxViT, MobileNet, RegNet and VGG, as torchvision builds them."""

from __future__ import annotations

from torch import nn

from benchmarks.families.family import Family
from benchmarks.families.parts import BLOCKS, TOKENS, Capability, Layers
from benchmarks.families.torchvision_model import TorchvisionModel


class Torchvision(Family):
    """A network of torchvision's, whose blocks and layers are the parts that it runs one after the other."""

    name = "torchvision"
    kind = TorchvisionModel

    def can(self, capability: Capability) -> bool:
        """Refuse what needs blocks of a network of single layers, VGG."""
        return bool(self._blocks()) if capability in (BLOCKS, TOKENS) else super().can(capability)

    def _blocks(self) -> list[nn.Module]:
        parts = [self.model.get_submodule(part) for part in self.model.parts]
        return [part for part in parts if any(part.children())]

    def blocks(self) -> list[nn.Module]:
        found = self._blocks()
        if not found:
            raise self.refusal(BLOCKS)
        return found

    def layers(self) -> Layers:
        """Return every part with parameters as a layer, a norm that stands alone with what comes before it."""
        numbers: dict[str, int] = {}
        for part in self.model.parts:
            module = self.model.get_submodule(part)
            if any(True for _ in module.parameters()):
                norm = isinstance(module, nn.BatchNorm2d)
                numbers[f"{part}."] = max(numbers.values(), default=-1) + (0 if norm and numbers else 1)
        last = max(numbers.values()) + 1

        def layer(name: str) -> int:
            return next((number for part, number in numbers.items() if name.startswith(part)), last)

        return Layers(last + 1, layer)

    def properties(self) -> dict[str, object]:
        return {"family": self.name, "in_chans": self.in_chans}
