"""Generated calls at the doors of the package: what is good is accepted with the right value, what is bad in words.

    python -m validation.doors                          10,000 calls and run files
    python -m validation.doors --calls 500 --seed 3     some, of another seed
    python -m validation.doors --one 1234               the code of one of them, and what became of it

Every public function and class has valid small calls in :mod:`validation.doors.calls`, run files and command lines in
:mod:`validation.doors.files`. A generated call is one of them after one to three *changes* of its arguments
(:mod:`validation.doors.changes`), drawn by a random generator of the seed and the number of the call. A change says
what it makes of a call:

========== ===========================================================================================================
``same``   the same argument in another form, such as a list for an array: accepted, with equal values and no warning
``either`` a form that may be refused: refused in words, or accepted with equal values
``open``   an unusual argument that has a meaning: refused in words, or accepted with values of its own
``bad``    what is not an argument: refused in words (InputError, SolveError; TypeError where the signature is violated)
           or accepted with a warning
========== ===========================================================================================================

Calls run in forks of one warm parent (:mod:`validation.doors.runner`), each under limits of time and memory. A call
that ends otherwise is a *fault*: a hang, the end of its process, another exception, a good call refused, a wrong
number. The exit code is 1 if there is one.
"""
