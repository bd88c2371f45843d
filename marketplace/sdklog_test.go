package marketplace

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/aws/smithy-go/logging"
)

func TestTheSDKsWarningsAreLinesOfTheLog(t *testing.T) {
	var out bytes.Buffer
	l := sdkLog{slog.New(slog.NewJSONHandler(&out, nil))}
	l.Logf(logging.Warn, "falling back to %s", "IMDSv1")
	l.Logf(logging.Debug, "retrying")
	if got := out.String(); !strings.Contains(got, `"level":"WARN","msg":"aws sdk","said":"falling back to IMDSv1"}`) || strings.Count(got, "\n") != 1 {
		t.Errorf("got %s", got)
	}
}
