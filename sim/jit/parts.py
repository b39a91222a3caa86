"""How numba compiles a part: type it, write it down, and leave the rest to the kernel it is in.

numba would optimise each part and make machine code of it, with all the parts in it over again,
though none is ever called: half of the time that a kernel took to compile. What is lost is printing
from within a part, which needs what numba calls an environment.
"""

from __future__ import annotations

from typing import Any

from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompilerBase
from numba.core.compiler_machinery import LoweringPass, PassManager, register_pass
from numba.core.typed_passes import (
    AnnotateTypes,
    IRLegalization,
    NativeLowering,
    NoPythonBackend,
    NopythonTypeInference,
    PreLowerStripPhis,
)
from numba.core.untyped_passes import (
    DeadBranchPrune,
    FixupArgs,
    GenericRewrites,
    IRProcessing,
    ReconstructSSA,
    RewriteSemanticConstants,
    TranslateByteCode,
)


class _Codegen:
    """What makes code, for a part: it has no environment, as it is not in memory."""

    def __init__(self, codegen: Any) -> None:
        self._codegen = codegen

    def __getattr__(self, name: str) -> Any:
        return getattr(self._codegen, name)

    def set_env(self, env_name: str, env: Any) -> None:
        pass


class _Part(JITCodeLibrary):  # type: ignore[misc]
    """Code as it was written down, to be linked into a kernel."""

    @property
    def codegen(self) -> Any:
        return _Codegen(self._codegen)

    def _optimize_functions(self, ll_module: Any) -> None:
        ll_module.data_layout = self._codegen._data_layout

    def _optimize_final_module(self) -> None:
        pass

    def _finalize_final_module(self) -> None:
        self._finalize_dynamic_globals()
        self._finalized = True

    def get_pointer_to_function(self, name: str) -> int:
        self._ensure_finalized()
        return 0  # numba's word for: not there


@register_pass(mutates_CFG=False, analysis_only=True)
class _IntoPart(LoweringPass):  # type: ignore[misc]
    _name = "into_part"

    def __init__(self) -> None:  # abstract above
        super().__init__()

    def run_pass(self, state: Any) -> bool:
        state.library = _Part(state.targetctx.codegen(), state.func_id.func_qualname)
        return True


# What numba does to a function, less what only closures, contexts, inlined functions and whole
# arrays' expressions need: each of those passes would go through every part again.
_PASSES = (
    TranslateByteCode,
    FixupArgs,
    IRProcessing,
    RewriteSemanticConstants,
    DeadBranchPrune,
    GenericRewrites,
    ReconstructSSA,
    NopythonTypeInference,
    PreLowerStripPhis,
    IRLegalization,
    AnnotateTypes,
    _IntoPart,
    NativeLowering,
    NoPythonBackend,
)


class PartCompiler(CompilerBase):  # type: ignore[misc]
    def define_pipelines(self) -> list[Any]:
        passes = PassManager("part")
        for kind in _PASSES:
            passes.add_pass(kind, kind.name())
        passes.finalize()
        return [passes]
