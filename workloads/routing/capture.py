"""Records which experts a mixture-of-experts model in torch uses.

Importing this module imports torch; the package around it does not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from inspect import signature
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from torch import Tensor, nn

from ...errors import HetgymError, read_text
from .trace import DECODE, PREFILL, RoutingTrace

_ROUTER_CLASSES = ("Router", "Gate", "Gating")
"""How the names of classes that choose experts end."""
_TOP_K = ("top_k", "topk", "moe_top_k", "num_experts_per_tok")
"""What models call the number of experts that a token uses."""
_NUM_EXPERTS = ("num_experts", "n_routed_experts")
"""What models call the number of experts of a layer."""
_ALL_STEPS = np.iinfo(np.int32).max
_DIMENSIONS = 2


@dataclass(frozen=True)
class _Choice:
    """What a router chose for N tokens.

    Attributes:
        experts: int64 (N, k), in descending order of weight.
        weights: float32 (N, k).
        num_experts: E.
    """

    experts: Tensor
    weights: Tensor
    num_experts: int


@dataclass(frozen=True)
class _Call:
    """One call of a router: `hidden` is what it was given, (..., H), or None where it was given more than that."""

    router: nn.Module
    hidden: Tensor | None
    choice: _Choice


@dataclass(frozen=True)
class _Tokens:
    """Tokens that went through L layers.

    Attributes:
        request: int64 (N,).
        phase: int8 (N,).
        step: int32 (N,).
        experts: int16 (N, L, k).
        scores: float32 (N, L, k).
        predicted: int16 (N, L, D, k).
    """

    request: NDArray[np.int64]
    phase: NDArray[np.int8]
    step: NDArray[np.int32]
    experts: NDArray[np.int16]
    scores: NDArray[np.float32]
    predicted: NDArray[np.int16]


class RoutingRecorder:
    """Records the routing of a model's forward passes, as a context manager.

    It hooks the modules whose class name ends in Router, Gate or Gating and that are no part of attention (JetMoe
    routes that as well), and takes what they return: the integer tensor of expert ids where there is one, else what
    the block around them makes of their logits, else the top k. Layers without experts are left out, and the others
    numbered from 0 in the order in which they run. Padding is left out by the attention mask.

    The first pass, and the first after `end_requests`, is the prefill of as many new requests as its batch has rows;
    those that follow decode them. So it also records ``model.generate``, beam search apart, which reorders the rows::

        with RoutingRecorder(model) as recorder:
            for prompt in prompts:
                model.generate(prompt)
                recorder.end_requests()
        trace = recorder.trace("my model")

    Scores are the weights with which the model adds up the outputs of its experts; of a router that returns logits
    alone, the softmax over those of the chosen experts (as in Mixtral, arXiv:2401.04088, section 2.1).

    """

    def __init__(self, model: nn.Module, distances: int = 0) -> None:
        """Records nothing yet.

        Args:
            model: It is called with `input_ids` (batch, time) and perhaps an `attention_mask` (batch, past + time).
            distances: D. Where positive, the router of layer l + d is also applied to what the router of layer l was
                given, for d = 1 ... D: what it chooses is the prediction for layer l + d (arXiv:2312.17238, section
                3.2; Fate, arXiv:2502.12224).

        Raises:
            HetgymError: If `distances` is negative; on entry, if the model has no routers; in a forward pass, if it
                cannot be recorded.
        """
        if distances < 0:
            raise HetgymError(f"distances: must not be negative (given: {distances})")
        self.model = model
        self.distances = distances
        self._handles: list[Any] = []
        self._blocks: dict[nn.Module, nn.Module] = {}
        self._valid = torch.ones(0, 0, dtype=torch.bool)
        self._calls: list[_Call] = []
        self._tokens: list[_Tokens] = []
        self._num_experts = 0
        self._steps = np.zeros((2, 0), dtype=np.int64)  # of the requests that run, by phase
        self._limit: list[int] = []  # of all requests
        self._started = False

    def __enter__(self) -> RoutingRecorder:
        """Starts to record."""
        self._blocks = _find_routers(self.model)
        if not self._blocks:
            raise HetgymError(
                f"{type(self.model).__name__}: no layer has experts: outside attention, the name of no module's class "
                f"ends in {', '.join(_ROUTER_CLASSES)}"
            )
        self._handles = [router.register_forward_hook(self._on_router, with_kwargs=True) for router in self._blocks]
        self._handles.append(self.model.register_forward_pre_hook(self._on_start, with_kwargs=True))
        self._handles.append(self.model.register_forward_hook(self._on_end))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stops recording and leaves the model as it was."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def end_requests(self, decode_steps: Sequence[int] | None = None) -> None:
        """Ends the requests that run: the next forward pass is the prefill of others.

        Args:
            decode_steps: How many steps of decoding are kept of each row of the batch; all by default. (A batch runs
                until the last of its requests has ended.)

        Raises:
            HetgymError: If they are not as many as the requests that run.
        """
        if decode_steps is not None:
            running = self._steps.shape[1] if self._started else 0
            if len(decode_steps) != running:
                raise HetgymError(f"decode_steps: must be one for each of {running} requests (given: {decode_steps})")
            self._limit[-running:] = [int(steps) for steps in decode_steps]
        self._started = False

    def trace(self, name: str) -> RoutingTrace:
        """Returns what has been recorded so far.

        Args:
            name: What the trace calls the model.

        Raises:
            HetgymError: If that is nothing, or not all passes went through the same layers.
        """
        if not self._tokens:
            raise HetgymError(f"{name}: nothing was recorded: the model has not run")
        shapes = sorted({tokens.experts.shape[1:] for tokens in self._tokens})
        if len(shapes) > 1:
            raise HetgymError(f"{name}: passes differ in how many layers and experts a token uses: {shapes}")
        num_layers, top_k = shapes[0]

        request = np.concatenate([tokens.request for tokens in self._tokens])
        phase = np.concatenate([tokens.phase for tokens in self._tokens])
        step = np.concatenate([tokens.step for tokens in self._tokens])
        order = np.lexsort((step, phase, request))
        limit = np.array(self._limit)
        order = order[(phase[order] == PREFILL) | (step[order] < limit[request[order]])]
        experts = np.concatenate([tokens.experts for tokens in self._tokens])[order]
        scores = np.concatenate([tokens.scores for tokens in self._tokens])[order]
        predicted = np.concatenate([tokens.predicted for tokens in self._tokens])[order]
        return RoutingTrace(
            model=name,
            num_layers=num_layers,
            num_experts=self._num_experts,
            top_k=top_k,
            request=request[order].repeat(num_layers),
            phase=phase[order].repeat(num_layers),
            step=step[order].repeat(num_layers),
            layer=np.tile(np.arange(num_layers, dtype=np.int16), len(order)),
            experts=experts.reshape(-1, top_k),
            scores=scores.reshape(-1, top_k),
            predicted=predicted.reshape(-1, self.distances, top_k) if self.distances else None,
        )

    def _on_start(self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        given = (*args[:1], kwargs.get("input_ids"), kwargs.get("inputs_embeds"))
        tokens = next(tensor for tensor in given if tensor is not None)
        batch, time = tokens.shape[:2]
        mask = kwargs.get("attention_mask")
        if mask is None:
            mask = torch.ones(batch, time)
        elif mask.ndim != _DIMENSIONS:
            raise HetgymError(f"attention_mask: must be (batch, past + time) (given: a tensor {tuple(mask.shape)})")
        self._valid = mask[:, -time:].bool()
        self._calls = []

    def _on_router(self, router: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        choice = _read_choice(router, self._blocks[router], output)
        if choice is None:
            return
        inputs = [*args, *kwargs.values()]
        keep = self.distances > 0 and len(inputs) == 1
        # The model may go on to write into what it gave the router.
        self._calls.append(_Call(router, inputs[0].detach().clone() if keep else None, choice))

    def _on_end(self, model: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        name = type(model).__name__
        if not self._calls:
            raise HetgymError(f"{name}: none of its routers returned a choice of experts")
        choices = [call.choice for call in self._calls]
        sizes = {(choice.num_experts, *choice.experts.shape) for choice in choices}
        if len(sizes) > 1:
            raise HetgymError(f"{name}: layers differ in (experts, tokens, experts per token): {sorted(sizes)}")
        ((self._num_experts, num_tokens, _),) = sizes
        valid = self._valid.flatten().cpu()
        if num_tokens != len(valid):
            raise HetgymError(f"{name}: its routers saw {num_tokens} tokens, and not {len(valid)}, as it was given")
        if self.distances >= len(choices):
            raise HetgymError(f"distances: must be below its {len(choices)} layers (given: {self.distances})")

        request, phase, step = self._count()
        # Layers may be on several devices.
        experts = torch.stack([choice.experts.cpu() for choice in choices], dim=1)[valid]
        scores = torch.stack([choice.weights.cpu() for choice in choices], dim=1)[valid]
        predicted = self._predict()[valid]
        self._tokens.append(
            _Tokens(
                request,
                phase,
                step,
                experts.to(torch.int16).numpy(),
                scores.numpy(),
                predicted.to(torch.int16).numpy(),
            )
        )
        self._calls = []

    def _count(self) -> tuple[NDArray[np.int64], NDArray[np.int8], NDArray[np.int32]]:
        """Returns whose this pass's tokens are, in which phase, and which of its steps they are."""
        valid = self._valid.cpu().numpy()
        phase = DECODE if self._started else PREFILL
        if not self._started:
            self._steps = np.zeros((2, len(valid)), dtype=np.int64)
            self._limit += [_ALL_STEPS] * len(valid)
            self._started = True
        elif len(valid) != self._steps.shape[1]:
            raise HetgymError(
                f"input_ids: must have {self._steps.shape[1]} rows, as in the passes before (given: {len(valid)}); "
                "end_requests() lets others begin"
            )
        step = self._steps[phase][:, None] + valid.cumsum(axis=1) - 1
        self._steps[phase] += valid.sum(axis=1)
        row = np.nonzero(valid)[0]
        request = row + len(self._limit) - len(valid)
        return request.astype(np.int64), np.full(len(row), phase, dtype=np.int8), step[valid].astype(np.int32)

    def _predict(self) -> Tensor:
        """Returns what is predicted at each layer for those that follow, int64 (N, L, D, k); -1 is nothing."""
        num_tokens, top_k = self._calls[0].choice.experts.shape
        predicted = torch.full((num_tokens, len(self._calls), self.distances, top_k), -1)
        for layer, call in enumerate(self._calls):
            for distance, ahead in enumerate(self._calls[layer + 1 : layer + 1 + self.distances]):
                if call.hidden is None or ahead.hidden is None:
                    raise HetgymError(
                        f"distances: must be 0: a {type(ahead.router).__name__} reads more than the hidden state"
                    )
                with torch.no_grad():
                    output = ahead.router.forward(call.hidden.to(ahead.hidden.device))
                choice = _read_choice(ahead.router, self._blocks[ahead.router], output)
                assert choice is not None
                predicted[:, layer, distance] = choice.experts.cpu()
        return predicted


def _find_routers(model: nn.Module) -> dict[nn.Module, nn.Module]:
    """Returns the routers, each with the block that it is in."""
    modules = dict(model.named_modules())
    return {
        module: modules[name.rpartition(".")[0]]
        for name, module in modules.items()
        if type(module).__name__.endswith(_ROUTER_CLASSES) and "attn" not in name and "attention" not in name
    }


def _read_choice(router: nn.Module, block: nn.Module, output: Any) -> _Choice | None:
    """Returns what a router chose, or None if it is no router of experts.

    Args:
        router: It.
        block: The module around it, which chooses itself where the router returns logits alone.
        output: What the router returned: a tensor, or several, logits before weights.

    Raises:
        HetgymError: If it cannot be known, or a token goes to something that is no expert, or to one expert twice.
    """
    floats, integers = _tables(output)
    if not integers and floats:
        chosen = _choose(router, block, floats[-1])
        if chosen is None:
            return None
        weights, ids = chosen
    elif floats:
        ids = integers[-1].long()
        weights = next((table for table in reversed(floats) if table.shape == ids.shape), floats[-1])
        if weights.shape != ids.shape:  # of all experts, not of the chosen ones
            weights = weights.gather(-1, ids)
    else:
        return None
    return _checked(router, ids, weights, max(table.shape[1] for table in floats))


def _tables(output: Any) -> tuple[list[Tensor], list[Tensor]]:
    """Returns the tables among what was returned, one row for each token: those of numbers, and those of ids."""
    tensors = [t for t in (output if isinstance(output, tuple | list) else (output,)) if isinstance(t, Tensor)]
    tables = [t.detach().flatten(0, -2) for t in tensors if t.ndim >= _DIMENSIONS]
    floats = [table.float() for table in tables if table.is_floating_point()]
    return floats, [table for table in tables if not table.is_floating_point() and table.dtype != torch.bool]


def _choose(router: nn.Module, block: nn.Module, logits: Tensor) -> tuple[Tensor, Tensor] | None:
    """Returns weights and ids of the experts that logits choose, where the router returns no more, or None."""
    route = getattr(block, "route_tokens_to_experts", None)
    if route is not None and len(signature(route).parameters) == 1:
        with torch.no_grad():
            (weights,), (ids,) = _tables(route(logits))
        return weights, ids.long()
    known = (getattr(owner, field, None) for owner in (router, block) for field in _TOP_K)
    top_k = next((value for value in known if isinstance(value, int)), None)
    if top_k is None or logits.shape[1] < top_k:
        return None
    if route is not None or any(hasattr(owner, "e_score_correction_bias") for owner in (router, block)):
        kind = type(block).__name__
        raise HetgymError(f"{kind}: how it chooses experts is not known: its router returns logits alone")
    chosen, ids = logits.topk(top_k, dim=-1)
    return chosen.softmax(dim=-1), ids


def _checked(router: nn.Module, ids: Tensor, weights: Tensor, num_classes: int) -> _Choice:
    kind = type(router).__name__
    num_experts = next((getattr(router, field) for field in _NUM_EXPERTS if hasattr(router, field)), num_classes)
    # Some routers return weights and no logits: then there are as many columns as experts that a token uses.
    if num_classes not in (num_experts, ids.shape[1]):
        raise HetgymError(f"{kind}: chooses among {num_classes}, not {num_experts} experts: some are no experts")
    ordered = ids.sort(dim=-1).values
    if ids.numel() and (ordered[:, 0].min() < 0 or ordered[:, -1].max() >= num_experts):
        raise HetgymError(f"{kind}: names experts that are not among its {num_experts}")
    if (ordered.diff(dim=-1) == 0).any():
        raise HetgymError(f"{kind}: names an expert twice for one token")
    weights, order = weights.sort(dim=-1, descending=True, stable=True)
    return _Choice(ids.gather(-1, order), weights, num_experts)


def load_language_model(model: str, device: str = "cpu") -> tuple[Any, Any]:
    """Loads a causal language model of `transformers` and its tokenizer.

    Args:
        model: A folder, or a name on the Hugging Face hub.
        device: Where torch shall put it ("cpu", "cuda", ...).

    Raises:
        HetgymError: If it cannot be had.
    """
    transformers = _transformers()
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(model)
        loaded = transformers.AutoModelForCausalLM.from_pretrained(model, dtype="auto").to(device)
    # Whatever is wrong with a folder, a name, a network or a device raises one of these.
    except (OSError, ValueError, TypeError, KeyError, RuntimeError, ImportError, SafetensorError) as error:
        reason = " ".join(str(error).split())
        raise HetgymError(f"{model}: cannot load this language model: {reason}") from error
    return loaded, tokenizer


def quiet_transformers() -> None:
    """Lets `transformers` and the hub's client write errors only, for a command that says itself what is wrong."""
    _transformers().utils.logging.set_verbosity_error()
    import_module("huggingface_hub").logging.set_verbosity_error()


def read_prompts(path: Path) -> list[str]:
    """Returns the lines of a text file that are not empty.

    Raises:
        HetgymError: If it cannot be read, or has none.
    """
    prompts = [line for line in map(str.strip, read_text(path, "list of prompts").splitlines()) if line]
    if not prompts:
        raise HetgymError(f"{path}: has no prompt: each line that is not empty is one")
    return prompts


def capture_trace(
    model: Any,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    *,
    name: str | None = None,
    batch_size: int = 1,
    temperature: float = 0.0,
    seed: int = 0,
    distances: int = 0,
    progress: Callable[[int], None] | None = None,
) -> RoutingTrace:
    """Records the routing of a `transformers` model that reads prompts and goes on with them.

    The first new token comes out of the prefill, so a request has at most `max_new_tokens` - 1 steps of decoding;
    fewer where the model ends its text.

    Args:
        model: A causal language model, on any device.
        prompts: Ids of tokens; prompt i is request i.
        max_new_tokens: How many each request is given at most; 0 reads the prompts only.
        name: What the trace calls the model; by default what its configuration does.
        batch_size: Requests that run side by side, padded on the left.
        temperature: Of sampling, from all tokens; 0 takes the likeliest. Penalties and the like are those of the
            model's generation configuration.
        seed: Of sampling.
        distances: D, how many layers ahead predictions are recorded (see `RoutingRecorder`).
        progress: Called with how many requests have ended.

    Raises:
        HetgymError: If an argument is out of range, the model has no layers with experts, or `transformers` is missing.
    """
    _check_arguments(model, prompts, max_new_tokens, batch_size, temperature)
    options = _generation_config(model, max_new_tokens, temperature)
    was_training = model.training
    model.eval()
    try:
        devices = [model.device] if model.device.type == "cuda" else []
        with torch.random.fork_rng(devices), torch.no_grad(), RoutingRecorder(model, distances) as recorder:
            torch.manual_seed(seed)
            for first in range(0, len(prompts), batch_size):
                _run(model, recorder, prompts[first : first + batch_size], options)
                if progress:
                    progress(min(first + batch_size, len(prompts)))
    finally:
        model.train(was_training)
    return recorder.trace(name or model.config.name_or_path or type(model).__name__)


def _transformers() -> Any:
    try:
        return import_module("transformers")
    except ImportError as error:
        raise HetgymError('transformers: is not installed: pip install "hetgym[capture]"') from error


def _run(model: Any, recorder: RoutingRecorder, prompts: Sequence[Sequence[int]], options: Any) -> None:
    """Runs one batch of requests."""
    longest = max(len(prompt) for prompt in prompts)
    ids = torch.full((len(prompts), longest), options.pad_token_id)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, longest - len(prompt) :] = torch.tensor(prompt)
        mask[row, longest - len(prompt) :] = 1
    ids, mask = ids.to(model.device), mask.to(model.device)
    new = model.generate(input_ids=ids, attention_mask=mask, generation_config=options)[:, longest:]
    ended = torch.isin(new, torch.tensor(options.eos_token_id or [], dtype=new.dtype, device=new.device)).cpu().numpy()
    length = np.where(ended.any(axis=1), ended.argmax(axis=1) + 1, new.shape[1])
    recorder.end_requests((length - 1).tolist())


def _generation_config(model: Any, max_new_tokens: int, temperature: float) -> Any:
    end = model.generation_config.eos_token_id
    ends = [] if end is None else [end] if isinstance(end, int) else list(end)
    pad = model.generation_config.pad_token_id
    return _transformers().GenerationConfig(
        max_new_tokens=max(max_new_tokens, 1),
        do_sample=temperature > 0,
        temperature=temperature or None,
        top_k=0 if temperature else None,
        top_p=1.0 if temperature else None,
        num_beams=1,
        eos_token_id=ends or None,
        pad_token_id=pad if pad is not None and pad >= 0 else (ends or [0])[0],
        use_cache=True,
        disable_compile=True,
    )


def _check_arguments(
    model: Any, prompts: Sequence[Sequence[int]], max_new_tokens: int, batch_size: int, temperature: float
) -> None:
    if not prompts:
        raise HetgymError("prompts: must be at least one")
    vocabulary = model.get_input_embeddings().num_embeddings
    for number, prompt in enumerate(prompts):
        if not len(prompt):
            raise HetgymError(f"prompts.{number}: must have at least one token")
        outside = [token for token in prompt if not 0 <= token < vocabulary]
        if outside:
            raise HetgymError(f"prompts.{number}: tokens must be 0 ... {vocabulary - 1} (given: {outside[0]})")
    if max_new_tokens < 0:
        raise HetgymError(f"max_new_tokens: must not be negative (given: {max_new_tokens})")
    if batch_size < 1:
        raise HetgymError(f"batch_size: must be positive (given: {batch_size})")
    if not 0 <= temperature < float("inf"):
        raise HetgymError(f"temperature: must be 0 or a positive number (given: {temperature})")
