settings='require_target: true'
mkdir -p keys
for key in alice alice2 bob carol ci hub; do cp "$keys/$key.pub" keys/; done
policy 1 >trust.yaml
commit alice "Trust" anchor
deploy blog blog:1
deploy shop shop:1
commit alice "Deploy blog and shop

Deploy-Target: refs/heads/main" first
approve bob first shop -- base
deploy blog evil:1
commit alice "An experiment

Deploy-Target: refs/heads/staging" tip
