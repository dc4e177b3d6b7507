use_gpg
more_keys=erin signers='  erin: {keys: [keys/erin.asc]}'
start
now=1777600000
deploy blog evil:1
commit erin "In May, honestly" tip
