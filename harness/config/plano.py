from typing import Any
def is_plano(data: Any) -> bool: return "model_providers" in data or "llm_providers" in data or "listeners" in data
def plano_section(data: dict[str, Any], where: str) -> tuple[dict[str, Any], tuple[str, ...]]: raise NotImplementedError
