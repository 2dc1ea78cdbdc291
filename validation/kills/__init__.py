"""Kills, readers and writers: nothing that befalls a run or its file from outside costs what was accepted.

    python -m validation.kills                           everything: 1,000 kills, 100 runs, 100 races, the cost
    python -m validation.kills --runs 50 --seed 3        fewer, of another seed
    python -m validation.kills readers writers           some of it

=========== ==========================================================================================================
``kills``   tiny runs end by SIGKILL at random times, and at random calls of the system: before it, after it, and amid
            a write. Every file opens, no accepted frame is lost, and the run that goes on is the uninterrupted one
``readers`` h5py with its locks, xarray and wflow read as fast as they can beside runs: no run notices
``writers`` two runs, or two resumes of a killed run, of one path: one goes to its end, the other is refused
``cost``    20,000 frames and a million entries: the last ones cost no more than the first ones, in processor time,
            memory and disk, and a run with a large file ends within seconds of SIGTERM
=========== ==========================================================================================================

Runs are forks of one warm parent (:mod:`validation.kills.runs`). The exit code is 1 if anything fails.
"""
