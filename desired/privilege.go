package desired

// PrivilegeEnvSecrets is what the trust policy must allow a deployment that has
// secrets in its environment.
const PrivilegeEnvSecrets = "env-secrets"

const isStored = "the engine stores environment in clear"

// need refuses what needs a privilege.
func (b *builder) need(privilege, why string, steps ...string) {
	b.failf(steps, "refused: %s; it needs the privilege %s", why, privilege)
}
