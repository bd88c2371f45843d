package marketplace

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/aws/smithy-go/logging"
)

// sdkLog takes the SDK's own log lines, which would go to stderr as plain text. They
// hold no credentials: weir asks the SDK to log neither requests nor signatures.
type sdkLog struct{ log *slog.Logger }

var _ logging.Logger = sdkLog{}

// Logf is called by the SDK for warnings and debug lines.
func (l sdkLog) Logf(class logging.Classification, format string, args ...any) {
	level := slog.LevelDebug
	if class == logging.Warn {
		level = slog.LevelWarn
	}
	l.log.Log(context.Background(), level, "aws sdk", "said", fmt.Sprintf(format, args...))
}
