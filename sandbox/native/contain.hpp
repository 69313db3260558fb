#pragma once
#include "spec.hpp"
#include <base/result.hpp>

#include <sys/types.h>

namespace sandbox::native {

/// Starts the guest, contained: the host's number of process 1 inside, which lives on after its caller.
/// Standard input and output are the guest's; standard error is not. Needs root and to be single-threaded;
/// changes its caller's mount namespace and directory. Errors name the step.
base::Result<pid_t> contain(Spec const&);

/// Starts a process that stands for a sandbox until one is loaded in its place: it has the user ids, does
/// nothing, and waits to be killed. Its host's number. Needs root and to be single-threaded.
base::Result<pid_t> hold_place(Spec const&);

}  // namespace sandbox::native
