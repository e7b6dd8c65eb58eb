"""The front desk: reads the settings, puts the house together, and speaks with the person at the terminal.

In: the command line, the configuration file, the environment.
Out: a running gateway, or an answer on the terminal with an exit code.
May import: every room; nobody imports this one. Only app.settings reads the environment.
Tests: tests/unit/app; what starts a server is tested in tests/component.
"""
