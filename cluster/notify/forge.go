package notify

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/jaco-sh/jaco/desired"
)

// statusReceiver is the name of the forge among the receivers. No channel can
// have it: their names have no full stop.
const statusReceiver = "commit.status"

// maxDescription is what GitHub takes; the others take more.
const maxDescription = 140

// forgeSender writes commit statuses.
type forgeSender struct {
	config desired.CommitStatuses
	client *client
}

var _ sender = (*forgeSender)(nil)

// send implements sender.
func (s *forgeSender) send(ctx context.Context, m message) error {
	token, err := s.client.secret(ctx, s.config.Token)
	if err != nil {
		return err
	}
	c, err := s.request(m, token)
	if err != nil {
		return err
	}
	err = s.client.post(ctx, c)
	var answered *answerError
	if s.config.Forge == desired.GitLab && errors.As(err, &answered) && answered.code == http.StatusBadRequest &&
		strings.Contains(answered.said, "Cannot transition status") {
		return nil // GitLab refuses a state that is there already
	}
	return err
}

// request is the call that each forge documents:
// https://docs.github.com/en/rest/commits/statuses#create-a-commit-status,
// https://docs.gitlab.com/api/commits/#set-commit-pipeline-status,
// https://docs.gitea.com/api/ and https://forgejo.org/docs/latest/user/api-usage/
// (repoCreateStatus).
func (s *forgeSender) request(m message, token string) (call, error) {
	name := "jaco/" + m.info.name
	if m.status.unit != "" {
		name += "/" + m.status.unit
	}
	fields := map[string]string{"state": s.state(m.status.state), "context": name, "description": cut(m.status.description, maxDescription)}
	if s.config.Link != "" {
		fields["target_url"] = s.config.Link
	}
	body, err := encode(fields)
	c := call{
		address:  s.config.API + "/repos/" + s.config.Repository + "/statuses/" + m.status.revision,
		insecure: s.config.Insecure, header: http.Header{}, body: body, hide: []string{token},
	}
	switch s.config.Forge {
	case desired.GitLab:
		c.address = s.config.API + "/projects/" + url.PathEscape(s.config.Repository) + "/statuses/" + m.status.revision
		c.header.Set("Private-Token", token)
	case desired.GitHub:
		c.header.Set("Authorization", "Bearer "+token)
		c.header.Set("Accept", "application/vnd.github+json")
		c.header.Set("X-Github-Api-Version", "2022-11-28")
	default: // Gitea and Forgejo
		c.header.Set("Authorization", "token "+token)
	}
	return c, err
}

// state is the forge's word for a state.
func (s *forgeSender) state(st state) string {
	switch {
	case st == stateReplaced && s.config.Forge == desired.GitLab:
		return "canceled"
	case st == stateReplaced:
		return "error"
	case st == stateFailure && s.config.Forge == desired.GitLab:
		return "failed"
	}
	return string(st)
}
