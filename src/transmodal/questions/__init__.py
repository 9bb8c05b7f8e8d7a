"""What is asked of trained runs: does it agree, do lesions survive, what if scans do not lie on each other.

Questions read runs and volumes and write pages and tables of their own; they train nothing and change no run.
"""
