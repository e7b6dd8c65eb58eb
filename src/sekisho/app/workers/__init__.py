"""Several serving processes as one gateway: a supervisor forks them, buries them, and speaks for all.

In: the settings, bound sockets.
Out: `supervisor.run`, and in each worker a `worker.Worker` that `app.opening` tells what happens.
May import: what app may. A worker and the supervisor share nothing but a pair of sockets and the files of the spools.
Tests: tests/unit/app/workers, tests/component/workers.
"""
