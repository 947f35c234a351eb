"""The routing that is recorded against the experts that each model really ran."""

import math

import numpy as np
import pytest
import torch

from hetgym.errors import HetgymError
from hetgym.workloads.routing import DECODE, PREFILL, RoutingTrace
from hetgym.workloads.routing.capture import RoutingRecorder, capture_trace

transformers = pytest.importorskip("transformers")

EXPERTS, TOP_K, VOCABULARY = 8, 2, 50
SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "num_experts_per_tok": TOP_K,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": 0,
}
LATENT = {
    "q_lora_rank": 16,
    "kv_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
    "first_k_dense_replace": 1,
    "moe_intermediate_size": 16,
    "n_routed_experts": EXPERTS,
    "n_shared_experts": 1,
    "n_group": 4,
    "topk_group": 2,
}
FAMILIES = {
    "Mixtral": {"num_local_experts": EXPERTS},
    "Qwen2Moe": {"num_experts": EXPERTS, "moe_intermediate_size": 16, "shared_expert_intermediate_size": 16},
    "Qwen3Moe": {"num_experts": EXPERTS, "moe_intermediate_size": 16, "head_dim": 16},
    "Olmoe": {"num_experts": EXPERTS},
    "DeepseekV2": LATENT | {"topk_method": "group_limited_greedy", "topk_group": 1},
    "DeepseekV3": LATENT,
    "Phimoe": {"num_local_experts": EXPERTS},
    "GraniteMoe": {"num_local_experts": EXPERTS},
    "GptOss": {"num_local_experts": EXPERTS, "head_dim": 16},
    "Jamba": {"num_experts": EXPERTS, "num_hidden_layers": 4, "attn_layer_period": 2, "attn_layer_offset": 1}
    | {"use_mamba_kernels": False, "mamba_d_state": 4, "mamba_dt_rank": 4},
    "Glm4Moe": {"n_routed_experts": EXPERTS, "moe_intermediate_size": 16, "first_k_dense_replace": 1, "n_group": 1}
    | {"n_shared_experts": 1, "head_dim": 16},
    "Dbrx": {
        "d_model": 32,
        "n_layers": 3,
        "n_heads": 2,
        "attn_config": {"kv_n_heads": 2, "clip_qkv": 8.0, "rope_theta": 1e4},
    }
    | {"ffn_config": {"ffn_hidden_size": 16, "moe_num_experts": EXPERTS, "moe_top_k": TOP_K, "hidden_size": 32}},
    "JetMoe": {"num_local_experts": EXPERTS, "kv_channels": 16, "num_key_value_heads": 1},
}
DENSE_FIRST = {"DeepseekV2": 1, "DeepseekV3": 1, "Glm4Moe": 1}
PROMPTS = [[3, 14, 15, 9, 26, 5], [35, 8, 9], [7, 9, 32, 38, 46, 2, 6, 4]]


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def tiny_model(family: str) -> torch.nn.Module:
    settings = SIZES | FAMILIES[family]
    if family == "JetMoe":
        del settings["num_attention_heads"]
    if family == "Dbrx":
        settings = {name: value for name, value in settings.items() if name not in SIZES or name.endswith("_id")}
        settings["vocab_size"] = VOCABULARY
    torch.manual_seed(1)
    config = getattr(transformers, f"{family}Config")(**settings)
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for name, value in (*model.named_parameters(), *model.named_buffers()):
            # As initialised, routers are nearly even, or all zero.
            if "gate.weight" in name or "router" in name or "e_score_correction_bias" in name:
                value.normal_(0.0, 1.0)
    return model


def moe_blocks(model: torch.nn.Module) -> list[torch.nn.Module]:
    """Blocks with experts outside attention, found by name and by the tables of expert weights that they hold."""
    return [
        module
        for name, module in model.named_modules()
        if type(module).__name__.endswith(("Moe", "MoE", "SparseMoeBlock", "GptOssMLP", "DbrxFFN"))
        and "attention" not in name
        and expert_weights(module)
    ]


def expert_weights(block: torch.nn.Module) -> list[torch.Tensor]:
    """The weights of all experts, (experts, ...) each."""
    return [
        weights.data if len(weights) == EXPERTS else weights.data.view(EXPERTS, -1)
        for name, weights in block.named_parameters()
        if (weights.ndim == 3 and len(weights) == EXPERTS) or name.startswith("experts.mlp.")
    ]


def experts_that_ran(model: torch.nn.Module, prompt: list[int]) -> np.ndarray:
    """bool (layers, tokens, experts): whose output becomes NaN when the weights of one expert are NaN."""
    ran = np.zeros((len(moe_blocks(model)), len(prompt), EXPERTS), dtype=bool)
    for layer, block in enumerate(moe_blocks(model)):
        for expert in range(EXPERTS):
            seen = []
            hook = block.register_forward_hook(lambda _module, _args, output, seen=seen: seen.append(output))
            whole = [weights[expert].clone() for weights in expert_weights(block)]
            with torch.no_grad():
                for weights in expert_weights(block):
                    weights[expert] = math.nan
                model(torch.tensor([prompt]), use_cache=False)
                for weights, before in zip(expert_weights(block), whole, strict=True):
                    weights[expert] = before
            hook.remove()
            output = seen[0][0] if isinstance(seen[0], tuple) else seen[0]
            ran[layer, :, expert] = output.reshape(len(prompt), -1).isnan().any(dim=1).numpy()
    return ran


def chosen(trace: RoutingTrace, request: int, phase: int) -> np.ndarray:
    """bool (layers, tokens, experts)"""
    rows = (trace.request == request) & (trace.phase == phase)
    experts = trace.experts[rows].reshape(-1, trace.num_layers, trace.top_k)
    table = np.zeros((*experts.shape[:2], trace.num_experts), dtype=bool)
    np.put_along_axis(table, experts.astype(np.int64), True, axis=2)
    return table.transpose(1, 0, 2)


@pytest.mark.parametrize("family", FAMILIES)
def test_records_the_experts_that_ran(family):
    model = tiny_model(family)
    ran = experts_that_ran(model, PROMPTS[0])
    assert (ran.sum(axis=2) == TOP_K).all()

    trace = capture_trace(model, PROMPTS[:1], max_new_tokens=0)
    assert (trace.num_layers, trace.num_experts, trace.top_k) == (len(ran), EXPERTS, TOP_K)
    np.testing.assert_array_equal(chosen(trace, 0, PREFILL), ran)
    assert len(ran) == model.config.num_hidden_layers - DENSE_FIRST.get(family, 0) - 2 * (family == "Jamba")


@pytest.mark.parametrize("family", FAMILIES)
def test_scores_are_the_weights_of_the_experts_outputs(family):
    model, given = tiny_model(family), []
    for block in moe_blocks(model):
        if family == "JetMoe":
            block.router.register_forward_hook(
                lambda _module, _args, output: given.append(ungroup(output[0], *output[2:4]))
            )
        else:
            block.experts.register_forward_pre_hook(lambda _module, args: given.append(args[1:3]))
    trace = capture_trace(model, PROMPTS[:1], max_new_tokens=0)
    assert (np.diff(trace.scores, axis=1) <= 0).all()
    for layer, (ids, weights) in enumerate(given):
        rows = trace.layer == layer
        recorded = np.zeros((len(PROMPTS[0]), EXPERTS))
        np.put_along_axis(recorded, trace.experts[rows].astype(int), trace.scores[rows], axis=1)
        expected = torch.zeros(len(PROMPTS[0]), EXPERTS).scatter(1, ids, weights.detach().float())
        np.testing.assert_allclose(recorded, expected, rtol=1e-6)


def ungroup(order, weights, sizes):
    """JetMoe sorts its choices by expert, so many for each: (ids, weights), (tokens, k) each."""
    ids, ungrouped = torch.empty_like(order), torch.empty_like(weights)
    ids[order] = torch.arange(EXPERTS).repeat_interleave(torch.tensor(sizes))
    ungrouped[order] = weights
    return ids.view(-1, TOP_K), ungrouped.view(-1, TOP_K)


@pytest.mark.parametrize("family", ["Mixtral", "DeepseekV3", "Jamba", "GptOss", "JetMoe"])
def test_decoding_with_the_cache_is_recorded_like_reading_the_same_tokens(family):
    model = tiny_model(family)
    model.generation_config.update(top_p=0.1, top_k=3, num_beams=2)  # what its makers would have
    trace = capture_trace(model, PROMPTS, max_new_tokens=5, temperature=1.0, seed=3)
    model.generation_config.update(top_p=1.0, top_k=0, num_beams=1)
    assert np.unique(trace.request).tolist() == [0, 1, 2]
    assert trace.step[(trace.request == 1) & (trace.phase == DECODE)].max() == 3
    torch.manual_seed(3)
    ids = torch.tensor([PROMPTS[0]])
    whole = model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=5, do_sample=True, top_k=0, temperature=1.0
    )
    ran = experts_that_ran(model, whole[0, :-1].tolist())
    recorded = np.concatenate([chosen(trace, 0, PREFILL), chosen(trace, 0, DECODE)], axis=1)
    np.testing.assert_array_equal(recorded, ran)


@pytest.mark.parametrize("family", ["Mixtral", "DeepseekV2", "Jamba", "JetMoe"])
def test_a_padded_batch_routes_as_its_requests_do_one_by_one(family):
    model = tiny_model(family)
    single = capture_trace(model, PROMPTS, max_new_tokens=4)
    batched = capture_trace(model, PROMPTS, max_new_tokens=4, batch_size=2)
    for field in ("request", "phase", "step", "layer", "experts"):
        np.testing.assert_array_equal(getattr(batched, field), getattr(single, field), err_msg=field)
    np.testing.assert_allclose(batched.scores, single.scores, rtol=1e-3)


def test_rows_are_in_order_and_seeds_are_kept():
    model = tiny_model("Mixtral")
    state = torch.random.get_rng_state()
    trace = capture_trace(model, PROMPTS, max_new_tokens=4, temperature=1.0, batch_size=3, seed=5)
    assert torch.equal(state, torch.random.get_rng_state())
    order = np.lexsort((trace.layer, trace.step, trace.phase, trace.request))
    np.testing.assert_array_equal(order, np.arange(trace.num_rows))
    assert trace.num_rows == 3 * (sum(map(len, PROMPTS)) + 3 * 3)
    again = capture_trace(model, PROMPTS, max_new_tokens=4, temperature=1.0, batch_size=3, seed=5)
    other = capture_trace(model, PROMPTS, max_new_tokens=4, temperature=1.0, batch_size=3, seed=6)
    np.testing.assert_array_equal(trace.experts, again.experts)
    assert (trace.experts != other.experts).any()


def test_what_follows_the_end_of_a_text_is_left_out():
    model = tiny_model("Mixtral")
    free = model.generate(torch.tensor([PROMPTS[0]]), attention_mask=torch.ones(1, 6), max_new_tokens=6)[0, 6:]
    model.generation_config.eos_token_id = int(free[2])
    ends = free.tolist().index(int(free[2]))
    trace = capture_trace(model, PROMPTS, max_new_tokens=6, batch_size=3)
    decoded = (trace.request == 0) & (trace.phase == DECODE)
    assert len(np.unique(trace.step[decoded])) == ends
    alone = capture_trace(model, PROMPTS, max_new_tokens=6)
    np.testing.assert_array_equal(trace.request, alone.request)


def test_predictions_are_the_next_routers_applied_to_this_ones_input():
    model = tiny_model("Mixtral")
    hidden = []
    routers = [layer.mlp.gate for layer in model.model.layers]
    for router in routers:
        router.register_forward_hook(lambda _module, args, _output: hidden.append(args[0].detach().clone()))
    trace = capture_trace(model, PROMPTS[:1], max_new_tokens=0, distances=2)
    assert trace.predicted.shape == (trace.num_rows, 2, TOP_K)
    for layer in range(3):
        for distance in (1, 2):
            predicted = trace.predicted[trace.layer == layer, distance - 1]
            if layer + distance >= 3:
                assert (predicted == -1).all()
                continue
            logits = hidden[layer] @ routers[layer + distance].weight.T
            np.testing.assert_array_equal(predicted, logits.topk(TOP_K).indices)


def test_the_recorder_follows_a_model_that_someone_else_runs():
    model = tiny_model("Qwen3Moe")
    with RoutingRecorder(model) as recorder:
        for prompt in PROMPTS[:2]:
            model.generate(torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt)), max_new_tokens=3)
            recorder.end_requests()
    model(torch.tensor(PROMPTS[:1]))
    by_hand, trace = recorder.trace("tiny"), capture_trace(model, PROMPTS[:2], max_new_tokens=3)
    assert by_hand.model == "tiny"
    for field in ("request", "phase", "step", "layer", "experts", "scores"):
        np.testing.assert_array_equal(getattr(by_hand, field), getattr(trace, field), err_msg=field)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompts": []}, "prompts: must be at least one"),
        ({"prompts": [[1], []]}, "prompts.1: must have at least one token"),
        ({"prompts": [[1, VOCABULARY]]}, r"prompts.0: tokens must be 0 ... 49 \(given: 50\)"),
        ({"max_new_tokens": -1}, "max_new_tokens: must not be negative"),
        ({"batch_size": 0}, "batch_size: must be positive"),
        ({"temperature": math.nan}, "temperature: must be 0 or a positive"),
        ({"distances": -1}, "distances: must not be negative"),
        ({"distances": 3}, "distances: must be below its 3 layers"),
    ],
)
def test_bad_arguments_are_refused_by_name(changes, message):
    arguments = {"prompts": PROMPTS, "max_new_tokens": 2} | changes
    with pytest.raises(HetgymError, match=message):
        capture_trace(tiny_model("Mixtral"), **arguments)


def test_what_cannot_be_recorded_is_said():
    dense = transformers.AutoModelForCausalLM.from_config(
        transformers.LlamaConfig(
            vocab_size=50, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2
        )
    )
    with pytest.raises(HetgymError, match="LlamaForCausalLM: no layer has experts"):
        capture_trace(dense, PROMPTS, max_new_tokens=2)
    model = tiny_model("Mixtral")
    with RoutingRecorder(model) as recorder:
        with pytest.raises(HetgymError, match="nothing was recorded"):
            recorder.trace("tiny")
        model(torch.tensor(PROMPTS[:1]))
        with pytest.raises(HetgymError, match="must have 1 rows"):
            model(torch.tensor(PROMPTS[1:2] * 2))
        with pytest.raises(HetgymError, match="decode_steps: must be one for each of 1 requests"):
            recorder.end_requests([1, 2])


class OddRouter(torch.nn.Module):
    """Returns what a test wants."""

    def __init__(self, output):
        super().__init__()
        self.output = output

    def forward(self, hidden):
        return self.output


class OddModel(torch.nn.Module):
    def __init__(self, output, **attributes):
        super().__init__()
        self.gate = OddRouter(output)
        for name, value in attributes.items():
            setattr(self.gate, name, value)

    def forward(self, input_ids):
        return self.gate(input_ids)


LOGITS = torch.tensor([[0.1, 0.4, 0.3, 0.2]])


def odd_trace(output, **attributes):
    model = OddModel(output, **attributes)
    with RoutingRecorder(model) as recorder:
        model(torch.zeros(1, 1, dtype=torch.long))
    return recorder.trace("odd")


@pytest.mark.parametrize(
    ("output", "attributes", "scores"),
    [
        ((LOGITS, torch.tensor([[0.3, 0.7]]), torch.tensor([[3, 1]])), {}, [0.7, 0.3]),
        ((LOGITS, torch.tensor([[0.0, 0.7, 0.0, 0.3]]), torch.tensor([[3, 1]])), {}, [0.7, 0.3]),
        ((torch.tensor([[3, 1]]), torch.tensor([[0.3, 0.7]]), None), {"n_routed_experts": 4}, [0.7, 0.3]),
        (torch.tensor([[0.0, 2.0, -1.0, 1.0]]), {"top_k": 2}, [1 / (1 + math.exp(-1)), 1 / (1 + math.exp(1))]),
    ],
)
def test_what_routers_return_is_understood(output, attributes, scores):
    trace = odd_trace(output, **attributes)
    assert (trace.num_experts, trace.experts.tolist()) == (4, [[1, 3]])
    np.testing.assert_allclose(trace.scores[0], scores, rtol=1e-6)


@pytest.mark.parametrize(
    ("output", "attributes", "message"),
    [
        (LOGITS, {}, "none of its routers returned a choice of experts"),
        (LOGITS, {"top_k": 2, "e_score_correction_bias": 1.0}, "how it chooses experts is not known"),
        ((LOGITS, LOGITS[:, :2], torch.tensor([[1, 1]])), {}, "names an expert twice"),
        ((LOGITS, LOGITS[:, :2], torch.tensor([[1, 4]])), {}, "names experts that are not among its 4"),
        ((LOGITS, LOGITS[:, :2], torch.tensor([[1, 2]])), {"num_experts": 3}, "chooses among 4, not 3 experts"),
    ],
)
def test_what_routers_return_is_refused_where_it_says_too_little(output, attributes, message):
    with pytest.raises(HetgymError, match=message):
        odd_trace(output, **attributes)
