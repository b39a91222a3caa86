"""How numba compiles a kernel and its parts: each part is written down, the kernel is made of them.

numba would optimise each part and make machine code of it, with all the parts in it over again,
though none is ever called: half of the time that a kernel took to compile. And it would link each
into those that call it, ask after each call what the part raised, and look for counted references
in the whole, of which there are none. What is lost is printing from within a part, which needs what
numba calls an environment, and raising: a part must not.
"""

from __future__ import annotations

from typing import Any

from llvmlite.ir import Constant, IntType
from numba.core import ir
from numba.core.callconv import CPUCallConv, Status
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import LoweringPass, PassManager, register_pass
from numba.core.cpu import CPUContext
from numba.core.errors import UnsupportedError
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

_RAISES = ir.Raise, ir.StaticRaise, ir.DynamicRaise

# Parts.


class _Codegen:
    """What makes code, for a part: it has no environment, as it is not in memory."""

    def __init__(self, codegen: Any) -> None:
        self._codegen = codegen

    def __getattr__(self, name: str) -> Any:
        return getattr(self._codegen, name)

    def set_env(self, env_name: str, env: Any) -> None:
        pass


class _Written(JITCodeLibrary):  # type: ignore[misc]
    """Code that is optimised only when all of it is there."""

    def _optimize_functions(self, ll_module: Any) -> None:
        ll_module.data_layout = self._codegen._data_layout


class _Part(_Written):
    """Code as it was written down, to be linked into a kernel, but for the parts that it calls."""

    @property
    def codegen(self) -> Any:
        return _Codegen(self._codegen)

    def finalize(self) -> None:
        self._raise_if_finalized()
        self._finalize_dynamic_globals()
        self._finalized = True

    def get_pointer_to_function(self, name: str) -> int:
        self._ensure_finalized()
        return 0  # numba's word for: not there


class _Calls(CPUCallConv):  # type: ignore[misc]
    """A part is called as other functions are, and whether it raised is not asked."""

    def _get_return_status(self, builder: Any, code: Any, excinfoptr: Any) -> Status:
        no = Constant(IntType(1), 0)
        return Status(code, None, no, no, no, no, no, excinfoptr)

    def return_status_propagate(self, builder: Any, status: Status) -> None:
        pass


class _Context(CPUContext):  # type: ignore[misc]
    @property
    def call_conv(self) -> Any:
        return _Calls(self)


@register_pass(mutates_CFG=False, analysis_only=True)
class _IntoPart(LoweringPass):  # type: ignore[misc]
    _name = "into_part"

    def __init__(self) -> None:  # abstract above
        super().__init__()

    def run_pass(self, state: Any) -> bool:
        name, blocks = state.func_id.func_qualname, state.func_ir.blocks.values()
        if any(isinstance(said, _RAISES) for block in blocks for said in block.body):
            raise UnsupportedError(f"{name} is a part of a kernel, and nobody hears what it raises")
        state.targetctx = state.targetctx.subtarget()  # a copy
        state.targetctx.__class__ = _Context
        state.library = _Part(state.targetctx.codegen(), name)
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


# Kernels.


class _Kernel(_Written):
    """All the parts that a function calls, and they call in turn, each once."""

    def add_linking_library(self, library: Any) -> None:
        if library in self._linking_libraries:
            return
        super().add_linking_library(library)
        if isinstance(library, _Part):
            for called in library._linking_libraries:
                self.add_linking_library(called)

    def _optimize_final_module(self) -> None:
        made = self._codegen._module_pass_manager()  # with what runs it, since numba 0.62
        passes, *runner = made if isinstance(made, tuple) else (made,)
        passes.run(self._final_module, *runner)


@register_pass(mutates_CFG=False, analysis_only=True)
class _IntoKernel(LoweringPass):  # type: ignore[misc]
    _name = "into_kernel"

    def __init__(self) -> None:  # abstract above
        super().__init__()

    def run_pass(self, state: Any) -> bool:
        state.library = _Kernel(state.targetctx.codegen(), state.func_id.func_qualname)
        state.library.enable_object_caching()
        return True


class KernelCompiler(CompilerBase):  # type: ignore[misc]
    def define_pipelines(self) -> list[Any]:
        passes = DefaultPassBuilder.define_nopython_pipeline(self.state)
        passes.add_pass_after(_IntoKernel, AnnotateTypes)
        passes.finalize()
        return [passes]
