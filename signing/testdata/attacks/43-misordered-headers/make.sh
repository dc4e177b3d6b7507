start
file README hello
commit alice "Original"
payload HEAD | sed '/^author/{h;d}; /^committer/{p;x}' | resign alice tip
