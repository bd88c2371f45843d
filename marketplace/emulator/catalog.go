package emulator

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"
)

// The Catalog API, as far as a listing is read: DescribeEntity of a SaaSProduct (catalog-api reference; restJson1).

const (
	protocolREST   = "rest" // restJson1: method and path name the operation
	catalogName    = "AWSMarketplace"
	entityPath     = "/DescribeEntity"
	maxEntityID    = 255
	entityIDOthers = "_-@."
)

// restCodec is restJson1, as far as requests carry their members in the query.
type restCodec struct{ members object }

// newRESTCodec reads the members of DescribeEntity: the model gives their names in the query.
func newRESTCodec(r *http.Request) restCodec {
	members := object{}
	for name, member := range map[string]string{"catalog": "Catalog", "entityId": "EntityId"} {
		if values := r.URL.Query()[name]; len(values) > 0 {
			members[member] = values[0]
		}
	}
	return restCodec{members}
}

func (c restCodec) decode(body []byte) (object, error) {
	if len(body) > 0 {
		return nil, errors.New("the operation takes no request body")
	}
	return c.members, nil
}

func (restCodec) write(w http.ResponseWriter, _ *operation, out object) {
	w.Header().Set("Content-Type", "application/json")
	writeJSON(w, http.StatusOK, out)
}

func (restCodec) writeError(w http.ResponseWriter, _ *service, err *apiError) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Amzn-Errortype", err.code)
	writeJSON(w, err.status, object{"Message": err.message})
}

// describeEntity shows a listing to its seller.
func (e *Emulator) describeEntity(c *call) (object, error) {
	in := newInput(c.in)
	id, _, _ := strings.Cut(in.text("EntityId"), "@") // without its revision
	switch {
	case in.text("Catalog") != catalogName:
		return nil, refuse("ResourceNotFoundException", "The catalog %s does not exist.", clip(in.text("Catalog")))
	case id == "" || len(id) > maxEntityID || !consists(id, entityIDOthers):
		return nil, refuse(validationFailed, "The entityId %s is invalid.", clip(id))
	}
	for _, p := range e.products {
		if p.ID == id {
			return p.entity(e.clock.now())
		}
	}
	return nil, refuse("ResourceNotFoundException", "The entity %s does not exist.", clip(id))
}

// entity is a listing as DescribeEntity answers it: its details once as text and once as a document.
func (p *product) entity(now time.Time) (object, error) {
	dimensions := []object{}
	for _, d := range p.Dimensions {
		dimensions = append(dimensions, object{"Key": d.Key, "Name": d.Key, "Description": d.Key, "Unit": orDefault(d.Unit, "Units"), "Types": d.Types})
	}
	details := object{
		"Description": object{"ProductTitle": p.ID, "ProductCode": p.Code, "Visibility": "Limited", "ProductState": "Active"},
		"Dimensions":  dimensions,
	}
	text, err := json.Marshal(details)
	if err != nil {
		return nil, err
	}
	return object{
		"EntityType": "SaaSProduct@1.0", "EntityIdentifier": p.ID + "@1", "Details": string(text), "DetailsDocument": details,
		"EntityArn":        "arn:aws:aws-marketplace:" + region + ":" + sellerAccount + ":" + catalogName + "/SaaSProduct/" + p.ID,
		"LastModifiedDate": now.UTC().Format(time.RFC3339),
	}, nil
}
