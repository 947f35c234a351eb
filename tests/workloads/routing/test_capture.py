"""The routing that is recorded against the experts that each model really ran."""

import math
from pathlib import Path

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
    "DeepseekV2": LATENT | {"topk_method": "group_limited_greedy"},
    "DeepseekV3": LATENT,
    "Phimoe": {"num_local_experts": EXPERTS},
    "GraniteMoe": {"num_local_experts": EXPERTS},
    "GptOss": {"num_local_experts": EXPERTS, "head_dim": 16},
    "Jamba": {"num_experts": EXPERTS, "num_hidden_layers": 4, "attn_layer_period": 2, "attn_layer_offset": 1}
    | {"use_mamba_kernels": False, "mamba_d_state": 4, "mamba_dt_rank": 4},
    "Glm4Moe": {"n_routed_experts": EXPERTS, "moe_intermediate_size": 16, "first_k_dense_replace": 1, "n_group": 1}
    | {"n_shared_experts": 1, "head_dim": 16},
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
    """Blocks with experts outside attention, found by the tables of expert weights that they hold."""
    return [
        module
        for name, module in model.named_modules()
        if type(module).__name__.endswith(("Moe", "MoE", "SparseMoeBlock", "GptOssMLP"))
        and "attention" not in name
        and expert_weights(module)
    ]


def expert_weights(block: torch.nn.Module) -> list[torch.nn.Parameter]:
    return [p for p in block.parameters() if p.ndim >= 2 and len(p) == EXPERTS and p.ndim == 3]


def experts_that_ran(model: torch.nn.Module, prompt: list[int]) -> np.ndarray:
    """bool (layers, tokens, experts): whose output becomes NaN when the weights of one expert are NaN."""
    ran = np.zeros((len(moe_blocks(model)), len(prompt), EXPERTS), dtype=bool)
    for layer, block in enumerate(moe_blocks(model)):
        for expert in range(EXPERTS):
            seen = []
            hook = block.register_forward_hook(lambda module, args, output, seen=seen: seen.append(output))
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
