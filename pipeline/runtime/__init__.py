"""The process a script runs in: errors, exit codes, signals, launchers, devices, and the files a run leaves."""
