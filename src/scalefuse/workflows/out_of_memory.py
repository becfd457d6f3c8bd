"""Telling a lack of memory from other errors."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether Python, NumPy or torch, on the processor or an accelerator, ran out of memory.

    Example:
        >>> is_out_of_memory(MemoryError()), is_out_of_memory(RuntimeError("CUDA out of memory. Tried …"))
        (True, True)
        >>> is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
        False
    """
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and "memory" in str(error).lower()
    )
