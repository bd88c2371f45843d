package stage

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

// maxAnswer bounds what is read of an answer, in bytes.
const maxAnswer = 64 << 20

// Control speaks to the emulator's control API.
type Control struct{ URL string }

// License is one buyer's agreement, as the emulator answers it.
type License struct {
	ID        string `json:"id"`
	ARN       string `json:"licenseArn"`
	Customer  string `json:"customerIdentifier"`
	Agreement string `json:"agreementId"`
}

// Billed is one line of the bill that AWS would make.
type Billed struct {
	License   string    `json:"license"`
	Dimension string    `json:"dimension"`
	Hour      time.Time `json:"hour"`
	Quantity  float64   `json:"quantity"`
}

// Call makes one control call and reads its answer into out, which may be nil.
func (c Control) Call(ctx context.Context, method, path string, body, out any) error {
	return callJSON(ctx, method, c.URL+"/_control/"+path, body, out)
}

// Entitle sets what a license holds.
func (c Control) Entitle(ctx context.Context, license, dimension string, value any) error {
	body := []map[string]any{{"dimension": dimension, "value": value}}
	return c.Call(ctx, http.MethodPut, "licenses/"+url.PathEscape(license)+"/entitlements", body, nil)
}

// Advance moves the emulator's clock on.
func (c Control) Advance(ctx context.Context, d time.Duration) error {
	return c.Call(ctx, http.MethodPut, "clock", map[string]any{"advance": d.String()}, nil)
}

// Clock is what time it is for AWS.
func (c Control) Clock(ctx context.Context) (time.Time, error) {
	var answer struct {
		Now time.Time `json:"now"`
	}
	err := c.Call(ctx, http.MethodGet, "clock", nil, &answer)
	return answer.Now, err
}

// Bill is what AWS would bill.
func (c Control) Bill(ctx context.Context) ([]Billed, error) {
	var bill []Billed
	err := c.Call(ctx, http.MethodGet, "bill", nil, &bill)
	return bill, err
}

// callJSON makes one HTTP call with JSON both ways; anything but 2xx is an error with what was said.
func callJSON(ctx context.Context, method, address string, body, out any) error {
	var sent io.Reader = http.NoBody
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return fmt.Errorf("call %s %s: %w", method, address, err)
		}
		sent = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, address, sent)
	if err != nil {
		return fmt.Errorf("call %s %s: %w", method, address, err)
	}
	req.Header.Set("content-type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("call %s %s: %w", method, address, err)
	}
	defer resp.Body.Close()
	said, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("call %s %s: %w", method, address, err)
	}
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("call %s %s: %s: %s", method, address, resp.Status, said)
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(said, out); err != nil {
		return fmt.Errorf("call %s %s: read answer: %w", method, address, err)
	}
	return nil
}
