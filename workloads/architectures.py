"""Published networks, computed from their definitions: image classifiers, and decoders of language models."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any, Literal

from pydantic import ValidationError

from ..errors import HetgymError, one_line, unknown_name
from .moe_models import Attention, MoEModel
from .networks import Cut, Layer, NetworkProfile

TOKEN_BYTES = 4.0
"""Of a token that is sent: its number in the vocabulary."""


class _Chain:
    """Layers one after another, and the shape of the tensor behind them.

    Products alone have operations; norms, biases and activations are counted as part of them, at no cost.
    """

    def __init__(self, channels: int, side: int, input_bytes_per_element: float) -> None:
        if not (isinstance(input_bytes_per_element, int | float) and 0 < input_bytes_per_element < math.inf):
            raise HetgymError(
                f"input_bytes_per_element: must be finite and greater than 0 (given: {input_bytes_per_element!r})"
            )
        self.channels, self.side = channels, side
        self.layers: list[Layer] = []
        self.cuts = [Cut("input", 0, self.elements, input_bytes_per_element)]

    @property
    def elements(self) -> int:
        return self.channels * self.side**2

    def convolution(self, name: str, channels: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        """Appends a convolution of an odd kernel, padded by half of it."""
        inputs, weights = self.elements, kernel**2 * (self.channels // groups) * channels
        self.channels, self.side = channels, (self.side - 1) // stride + 1
        self._append(name, "convolution", weights * self.side**2, weights, inputs)

    def pool(self, name: str, stride: int) -> None:
        inputs = self.elements
        self.side = (self.side - 1) // stride + 1
        self._append(name, "pooling", 0, 0, inputs)

    def add(self, name: str) -> None:
        """Appends the sum of two tensors of the present shape."""
        self._append(name, "addition", 0, 0, 2 * self.elements)

    def linear(self, name: str, outputs: int) -> None:
        inputs = self.elements
        self.channels, self.side = outputs, 1
        self._append(name, "matmul", inputs * outputs, inputs * outputs, inputs)

    def cut(self, name: str) -> None:
        self.cuts.append(Cut(name, len(self.layers), self.elements))

    def _append(self, name: str, operation: str, macs: int, weights: int, inputs: int) -> None:
        self.layers.append(Layer(name, operation, macs, weights, inputs, self.elements))

    def profile(self, name: str) -> NetworkProfile:
        return NetworkProfile(name, tuple(self.layers), tuple(self.cuts))


def mobilenet_v2(input_bytes_per_element: float = 1.0) -> NetworkProfile:
    """Returns MobileNetV2 for 1000 classes of images of 224 x 224, with cuts between its blocks.

    Source: Sandler et al. 2018, CVPR, doi:10.1109/CVPR.2018.00474, table 2.

    Args:
        input_bytes_per_element: With which the image is sent: 1 for raw bytes, less for one that was compressed.

    Raises:
        HetgymError: If that is not positive.
    """
    chain = _Chain(3, 224, input_bytes_per_element)
    chain.convolution("stem", 32, 3, 2)
    chain.cut("stem")
    block = 0
    for expansion, channels, repeats, stride in (
        (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1),
    ):  # fmt: skip
        for repeat in range(repeats):
            block += 1
            _inverted_residual(chain, f"block{block}", expansion, channels, 1 if repeat else stride)
    chain.convolution("last", 1280, 1)
    chain.cut("last")
    _classifier(chain)
    return chain.profile("mobilenet-v2")


def _inverted_residual(chain: _Chain, name: str, expansion: int, channels: int, stride: int) -> None:
    before, wide = chain.channels, chain.channels * expansion
    if expansion > 1:
        chain.convolution(f"{name}.expand", wide, 1)
    chain.convolution(f"{name}.depthwise", wide, 3, stride, groups=wide)
    chain.convolution(f"{name}.project", channels, 1)
    if stride == 1 and channels == before:
        chain.add(f"{name}.add")
    chain.cut(name)


def resnet50(input_bytes_per_element: float = 1.0) -> NetworkProfile:
    """Returns ResNet-50 for 1000 classes of images of 224 x 224, with cuts between its blocks.

    The stride of a block is in its 3 x 3 convolution, as in torchvision ("v1.5"), not in the first as in the paper.

    Source: He et al. 2016, CVPR, doi:10.1109/CVPR.2016.90, table 1.

    Args:
        input_bytes_per_element: As in `mobilenet_v2`.

    Raises:
        HetgymError: If that is not positive.
    """
    chain = _Chain(3, 224, input_bytes_per_element)
    chain.convolution("conv1", 64, 7, 2)
    chain.cut("conv1")
    chain.pool("maxpool", 2)
    chain.cut("maxpool")
    for stage, (channels, blocks) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3)), 1):
        for block in range(blocks):
            _bottleneck_block(chain, f"layer{stage}.{block}", channels, 2 if stage > 1 and block == 0 else 1)
    _classifier(chain)
    return chain.profile("resnet50")


def _bottleneck_block(chain: _Chain, name: str, channels: int, stride: int) -> None:
    before = (chain.channels, chain.side)
    chain.convolution(f"{name}.conv1", channels, 1)
    chain.convolution(f"{name}.conv2", channels, 3, stride)
    chain.convolution(f"{name}.conv3", 4 * channels, 1)
    if before != (chain.channels, chain.side):
        chain.channels, chain.side = before  # the shortcut begins where the block began
        chain.convolution(f"{name}.shortcut", 4 * channels, 1, stride)
    chain.add(f"{name}.add")
    chain.cut(name)


def vgg16(input_bytes_per_element: float = 1.0) -> NetworkProfile:
    """Returns VGG16 for 1000 classes of images of 224 x 224, with cuts between all layers.

    Source: Simonyan, Zisserman 2015, ICLR, arXiv:1409.1556, table 1, column D.

    Args:
        input_bytes_per_element: As in `mobilenet_v2`.

    Raises:
        HetgymError: If that is not positive.
    """
    chain = _Chain(3, 224, input_bytes_per_element)
    for stage, (channels, repeats) in enumerate(((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)), 1):
        for repeat in range(1, repeats + 1):
            chain.convolution(f"conv{stage}.{repeat}", channels, 3)
            chain.cut(f"conv{stage}.{repeat}")
        chain.pool(f"pool{stage}", 2)
        chain.cut(f"pool{stage}")
    for name, outputs in (("fc6", 4096), ("fc7", 4096), ("fc8", 1000)):
        chain.linear(name, outputs)
        chain.cut(name)
    return chain.profile("vgg16")


def _classifier(chain: _Chain) -> None:
    chain.pool("average", chain.side)
    chain.linear("fc", 1000)
    chain.cut("fc")


_NETWORKS: dict[str, Callable[..., NetworkProfile]] = {
    "mobilenet-v2": mobilenet_v2,
    "resnet50": resnet50,
    "vgg16": vgg16,
}


def list_networks() -> list[str]:
    """Returns the names of the image classifiers."""
    return sorted(_NETWORKS)


def network_profile(name: str, **settings: Any) -> NetworkProfile:
    """Returns a network by its name.

    Args:
        name: One of `list_networks`.
        settings: Arguments of its function, such as `resnet50`.

    Raises:
        HetgymError: If there is no such network or setting, or a setting is out of its range.
    """
    if name not in _NETWORKS:
        raise unknown_name("network", name, list_networks())
    known = list(inspect.signature(_NETWORKS[name]).parameters)
    for setting in settings:
        if setting not in known:
            raise unknown_name(f"setting of network {name!r}", setting, known)
    return _NETWORKS[name](**settings)


class DecoderModel(MoEModel):
    """A decoder whose layers have one feed-forward network each: a mixture of one expert, without a router.

    As in `MoEModel`, norms and biases count nowhere. Looking up the embedding costs nothing.
    """

    experts: Literal[1] = 1
    top_k: Literal[1] = 1

    @property
    def router_parameters(self) -> int:
        """There is none."""
        return 0

    @property
    def layer_parameters(self) -> int:
        """Of a layer: attention's and the feed-forward network's."""
        return self.attention_parameters + self.expert_parameters

    def prompt(self, tokens: int) -> NetworkProfile:
        """Returns the pass of a prompt, up to the first token of the answer, with cuts between layers.

        A token of the prompt attends to itself and to those before it. The output layer takes the last token alone.

        Args:
            tokens: Of the prompt.

        Raises:
            HetgymError: If there is none.
        """
        return self._pass("prompt", tokens, tokens, tokens * (tokens + 1) / 2)

    def answer_token(self, context: int) -> NetworkProfile:
        """Returns the pass of one token of an answer, with cuts between layers.

        Args:
            context: Tokens whose keys and values it reads: those before it, and itself.

        Raises:
            HetgymError: If there is none.
        """
        return self._pass("token", 1, context, context)

    def _pass(self, name: str, tokens: int, positions: int, pairs: float) -> NetworkProfile:
        """Returns a pass of tokens that read the keys and values of positions."""
        if positions < 1:
            raise HetgymError(f"{self.name}: {name}: there must be at least 1 token (given: {positions})")
        numbers = tokens * self.hidden
        layers: list[Layer] = []
        cuts = [Cut("input", 0, tokens, TOKEN_BYTES)]
        for index in range(self.layers):
            products, looks = tokens * self.layer_parameters, pairs * self.pair_flop / 2
            kept = positions * self.kept_numbers
            layers += [
                Layer(f"layer{index}.products", "matmul", products, self.layer_parameters, numbers, numbers),
                Layer(f"layer{index}.attention", "attention", looks, 0, kept, numbers),
            ]
            cuts.append(Cut(f"layer{index}", len(layers), numbers))
        output = self.output_parameters
        layers.append(Layer("output", "matmul", output, output, self.hidden, self.vocabulary))
        cuts.append(Cut("output", len(layers), 1, TOKEN_BYTES))
        return NetworkProfile(f"{self.name}-{name}", tuple(layers), tuple(cuts))


def decoder_language_model(
    name: str = "tinyllama-1.1b",
    *,
    hidden: int = 2048,
    layers: int = 22,
    heads: int = 32,
    kv_heads: int = 4,
    ffn: int = 5632,
    vocabulary: int = 32000,
) -> DecoderModel:
    """Returns a decoder-only language model; by default TinyLlama.

    Source: Zhang et al. 2024, TinyLlama, arXiv:2401.02385, and the published config.json.

    Args:
        name: Lower-case with hyphens.
        hidden: Width of a token, a multiple of ``heads``.
        layers: How many.
        heads: Query heads, a multiple of ``kv_heads``.
        kv_heads: Key and value heads.
        ffn: Inner width of the feed-forward networks, which have three matrices of ``hidden`` x ``ffn``.
        vocabulary: Tokens that there are.

    Raises:
        HetgymError: If a number is out of range.
    """
    sizes = {"hidden": hidden, "layers": layers, "intermediate": ffn, "vocabulary": vocabulary}
    for whole, part, given in (("hidden", "heads", (hidden, heads)), ("heads", "kv_heads", (heads, kv_heads))):
        if not all(isinstance(each, int) and each > 0 for each in given) or given[0] % given[1]:
            raise HetgymError(f"{name}: {whole}: must be a positive multiple of {part}, {given[1]} (given: {given[0]})")
    try:
        attention = Attention(heads=heads, kv_heads=kv_heads, head_size=hidden // heads)
        return DecoderModel.model_validate({"name": name, **sizes, "attention": attention})
    except ValidationError as error:
        raise one_line(error, str(name)) from error
