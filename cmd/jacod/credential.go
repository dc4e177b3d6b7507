package main

import (
	"encoding/json"
	"fmt"

	"github.com/jaco-sh/jaco/gitsync"
)

// credential is the plaintext of the sealed repository credential.
type credential struct {
	SSHKey []byte `json:"ssh_key,omitempty"`
	Token  []byte `json:"token,omitempty"`
}

// encodeCredential returns nil when there is none.
func encodeCredential(sshKey, token []byte) ([]byte, error) {
	if len(sshKey) == 0 && len(token) == 0 {
		return nil, nil
	}
	data, err := json.Marshal(credential{sshKey, token})
	if err != nil {
		return nil, fmt.Errorf("encode the repository's credential: %w", err)
	}
	return data, nil
}

func decodeCredential(data []byte, into *gitsync.Credentials) error {
	var c credential
	if err := json.Unmarshal(data, &c); err != nil {
		return fmt.Errorf("decode the repository's credential: %w", err)
	}
	into.SSHKey, into.Token = c.SSHKey, c.Token
	return nil
}
