start
deploy blog evil:1
commit mallory "Mine" tip
