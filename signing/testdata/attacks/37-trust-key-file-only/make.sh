start
cp "$keys/mallory.pub" keys/bob.pub
commit alice "Tidy up keys" tip
