package rpc

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/cluster/identity"
)

var (
	// ErrNotInitialized is returned by every method of a node that belongs to
	// no cluster, but those that change that.
	ErrNotInitialized = errors.New("this node belongs to no cluster yet: run `jaco bootstrap init` or `jaco bootstrap join`")
	// ErrNotFound is returned for a container, deployment or commit that the
	// cluster does not know.
	ErrNotFound = errors.New("not found")
	// ErrNotLeader is what a NotLeaderError is, for errors.Is.
	ErrNotLeader = errors.New("not the leader")
	// ErrUnreachable is returned when the other node did not answer: it is not
	// known whether it did what it was asked.
	ErrUnreachable = errors.New("does not answer")
	// ErrNotJaco is returned when what answers is not a control port.
	ErrNotJaco = errors.New("not the control port of a jacod")
	// ErrForbidden is returned when a node speaks for another, or asks for what
	// a member may not do.
	ErrForbidden = errors.New("not allowed")
	// ErrClosed is returned by Peers after its Run ended.
	ErrClosed = errors.New("the connections to other nodes are closed")
)

// NotLeaderError is returned when only the leader can do what was asked.
type NotLeaderError struct {
	// Leader is who leads as far as the answering node knows; "" when none does.
	Leader string
}

// Error implements error.
func (e *NotLeaderError) Error() string {
	if e.Leader == "" {
		return "the cluster has no leader at the moment: it has no majority, or an election is under way; try again"
	}
	return "not the leader: that is " + e.Leader
}

// Is makes errors.Is(err, ErrNotLeader) true.
func (e *NotLeaderError) Is(target error) bool { return target == ErrNotLeader }

// remoteError keeps the sentence that another process said, and matches the
// reason that it gave.
type remoteError struct {
	message string
	reason  error // nil when it gave none that is known here
}

func (e *remoteError) Error() string { return e.message }
func (e *remoteError) Unwrap() error { return e.reason }

// domain is whose reasons an errdetails.ErrorInfo holds.
const domain = "jaco.sh"

// The reasons that travel with a refusal. They are on the wire: never rename
// one.
const (
	reasonInvalid   = "invalid"
	reasonConflict  = "conflict"
	reasonExists    = "exists"
	reasonToken     = "token"
	reasonNotFound  = "not-found"
	reasonNotLeader = "not-leader"
	reasonNotMember = "not-member"
	reasonForbidden = "forbidden"

	leaderKey = "leader" // in the metadata of reasonNotLeader
)

// refusal is the reason and code of the first kind of error that err is.
func refusal(err error) (string, codes.Code) {
	switch {
	case errors.Is(err, ErrNotLeader):
		return reasonNotLeader, codes.FailedPrecondition
	case errors.Is(err, identity.ErrNotMember), errors.Is(err, identity.ErrBadCertificate):
		return reasonNotMember, codes.PermissionDenied
	case errors.Is(err, ErrForbidden):
		return reasonForbidden, codes.PermissionDenied
	case errors.Is(err, cluster.ErrToken):
		return reasonToken, codes.Unauthenticated
	case errors.Is(err, cluster.ErrExists):
		return reasonExists, codes.AlreadyExists
	case errors.Is(err, cluster.ErrConflict):
		return reasonConflict, codes.Aborted
	case errors.Is(err, cluster.ErrInvalid):
		return reasonInvalid, codes.InvalidArgument
	case errors.Is(err, ErrNotFound), errors.Is(err, cluster.ErrNotFound):
		return reasonNotFound, codes.NotFound
	}
	return "", codes.Unknown
}

// meaning is the error that stands behind a reason; nil for one that is not
// known.
func meaning(reason string) error {
	switch reason {
	case reasonInvalid:
		return cluster.ErrInvalid
	case reasonConflict:
		return cluster.ErrConflict
	case reasonExists:
		return cluster.ErrExists
	case reasonToken:
		return cluster.ErrToken
	case reasonNotFound:
		return ErrNotFound
	case reasonNotMember:
		return identity.ErrNotMember
	case reasonForbidden:
		return ErrForbidden
	}
	return nil
}

// toStatus gives an error the gRPC code that the client turns back, and its
// reason.
func toStatus(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrNotInitialized):
		return status.Error(codes.FailedPrecondition, err.Error())
	case errors.Is(err, context.Canceled):
		return status.Error(codes.Canceled, err.Error())
	case errors.Is(err, context.DeadlineExceeded):
		return status.Error(codes.DeadlineExceeded, err.Error())
	}
	reason, code := refusal(err)
	if reason == "" {
		if _, ok := status.FromError(err); ok {
			return err
		}
		return status.Error(codes.Unknown, err.Error())
	}
	info := &errdetails.ErrorInfo{Reason: reason, Domain: domain}
	if notLeader, ok := errors.AsType[*NotLeaderError](err); ok && notLeader.Leader != "" {
		info.Metadata = map[string]string{leaderKey: notLeader.Leader}
	}
	detailed, detailErr := status.New(code, err.Error()).WithDetails(info)
	if detailErr != nil {
		return status.Error(code, err.Error())
	}
	return detailed.Err()
}

// fromReason turns a status with a reason back into an error; it returns nil
// for one that has none.
func fromReason(s *status.Status) error {
	for _, detail := range s.Details() {
		info, found := detail.(*errdetails.ErrorInfo)
		if !found || info.GetDomain() != domain {
			continue
		}
		if info.GetReason() == reasonNotLeader {
			return &NotLeaderError{Leader: info.GetMetadata()[leaderKey]}
		}
		return &remoteError{s.Message(), meaning(info.GetReason())}
	}
	return nil
}

// forbidden is an error that wraps ErrForbidden.
func forbidden(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrForbidden, fmt.Sprintf(format, args...))
}
