"""`ocp-tuned-boot check`: what the next boot would fail at, or do otherwise than requested, and
what is likely a mistake. On a node, or in the CI of those who write profiles. It changes no setting
and no request.

A module for each subject yields problems (problem.py); `look` asks all of them, `show` prints.
"""
