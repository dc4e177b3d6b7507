start
deploy blog evil:1
commit hub "Change of blog (#1)" tip
