"""Measure and judge: metrics, matrices of conditions, statistics, speed."""
