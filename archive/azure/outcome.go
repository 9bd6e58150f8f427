package azure

import (
	"context"
	"errors"
	"fmt"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"

	"github.com/seed-147127fe/streamhub"
)

// status returns the HTTP status of an error of the service; 0 if there is no error or no answer.
func status(err error) int {
	var response *azcore.ResponseError
	if errors.As(err, &response) {
		return response.StatusCode
	}
	return 0
}

func missing(err error) bool { return errors.Is(err, streamhub.ErrNotFound) }

// outcome wraps err in an error of package streamhub. An error that is not known to be final counts as temporary: the
// archiver retries, and no entry leaves Redis meanwhile.
func outcome(err error) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return err
	}
	var response *azcore.ResponseError
	errors.As(err, &response)
	switch status(err) {
	case 404:
		if response.ErrorCode == "TableNotFound" || response.ErrorCode == "ContainerNotFound" {
			break // the archive itself is missing, not one object
		}
		return fmt.Errorf("%w: %w", streamhub.ErrNotFound, err)
	case 413:
		return fmt.Errorf("%w: %w", streamhub.ErrTooLarge, err)
	case 401, 403:
		return fmt.Errorf("%w: the archive: %w", streamhub.ErrPermissionDenied, err)
	}
	return fmt.Errorf("%w: the archive: %w", streamhub.ErrUnavailable, err)
}
