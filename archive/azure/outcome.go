package azure

import (
	"context"
	"errors"
	"fmt"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"

	"github.com/seed-147127fe/streamhub"
)

// status is what the service has answered; 0 if it has not, or if there is no error.
func status(err error) int {
	var response *azcore.ResponseError
	if errors.As(err, &response) {
		return response.StatusCode
	}
	return 0
}

func missing(err error) bool { return errors.Is(err, streamhub.ErrNotFound) }

// outcome makes an error of package streamhub. Whatever is not known to be for good may pass: the
// archiver tries again, and nothing leaves Redis meanwhile.
func outcome(err error) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return err
	}
	var response *azcore.ResponseError
	errors.As(err, &response)
	switch status(err) {
	case 404:
		if response.ErrorCode == "TableNotFound" || response.ErrorCode == "ContainerNotFound" {
			break // not the object is missing but the archive
		}
		return fmt.Errorf("%w: %w", streamhub.ErrNotFound, err)
	case 413:
		return fmt.Errorf("%w: %w", streamhub.ErrTooLarge, err)
	case 401, 403:
		return fmt.Errorf("%w: the archive: %w", streamhub.ErrPermissionDenied, err)
	}
	return fmt.Errorf("%w: the archive: %w", streamhub.ErrUnavailable, err)
}
