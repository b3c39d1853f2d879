"""Runs a program to which the kernel refuses one ioctl, as some sandboxes do: REQUEST ERRNO PROGRAM ARGUMENT…

Knows: seccomp(2) and its filters (linux/filter.h, linux/seccomp.h). Refuses to know: which ioctl, which program.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys

_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 38, 22, 2
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_LOAD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_NUMBER, _SECOND_ARGUMENT = (
    0,
    24,
)  # offsets in struct seccomp_data; the low half of an argument, little-endian
_IOCTL = {"x86_64": 16, "aarch64": 29}


def refuse(request: int, code: int) -> None:
    """Make every ioctl with this request fail with this errno, here and in whatever is executed. Raises OSError."""
    steps = [
        (_LOAD, 0, 0, _NUMBER),
        (_JUMP_IF_EQUAL, 0, 3, _IOCTL[os.uname().machine]),
        (_LOAD, 0, 0, _SECOND_ARGUMENT),
        (_JUMP_IF_EQUAL, 0, 1, request),
        (_RETURN, 0, 0, _ERRNO | code),
        (_RETURN, 0, 0, _ALLOW),
    ]
    code_of = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in steps))
    program = ctypes.create_string_buffer(struct.pack("@HP", len(steps), ctypes.addressof(code_of)))
    libc = ctypes.CDLL(None, use_errno=True)
    for arguments in (
        (_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
        (_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, program, 0, 0),
    ):
        if libc.prctl(*arguments):
            raise OSError(ctypes.get_errno(), "prctl")


if __name__ == "__main__":
    refuse(int(sys.argv[1], 0), int(sys.argv[2]))
    os.execvp(sys.argv[3], sys.argv[3:])
