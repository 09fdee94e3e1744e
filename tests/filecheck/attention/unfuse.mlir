// RUN: attnc-opt %s -p 'unfuse-attention' | filecheck %s

// Scores and weights are tensors of their own; an attention of another form stays one operation.

// CHECK: func.func @main
func.func @main(%q: tensor<1x2x9x4xf32>, %m: tensor<1x1x9x9xi1>) -> (tensor<1x2x9x4xf32>, tensor<1x2x9x4xf32>) {
  // CHECK: [[S:%.*]] = nn.matmul %q, %q transpose_rhs
  // CHECK: [[T:%.*]] = nn.map "mul"([[S]], {{%.*}})
  // CHECK: [[H:%.*]] = nn.map "select"(%m, [[T]], {{%.*}})
  // CHECK: [[M:%.*]] = nn.reduce max [[H]] axes [3]
  // CHECK: [[D:%.*]] = nn.map "sub"([[H]], [[M]])
  // CHECK: [[E:%.*]] = nn.map "exp"([[D]])
  // CHECK: [[N:%.*]] = nn.reduce sum [[E]] axes [3]
  // CHECK: [[V:%.*]] = nn.matmul [[E]], %q
  // CHECK: [[A:%.*]] = nn.map "div"([[V]], [[N]])
  %a = sattn.attention q %q k %q v %q mask %m : tensor<1x1x9x9xi1> scale 5.0e-01
       : (tensor<1x2x9x4xf32>, tensor<1x2x9x4xf32>, tensor<1x2x9x4xf32>) -> tensor<1x2x9x4xf32>
  // CHECK: [[B:%.*]] = sattn.attention
  %b = sattn.attention q %q k %q v %q form "window:2" scale 5.0e-01
       : (tensor<1x2x9x4xf32>, tensor<1x2x9x4xf32>, tensor<1x2x9x4xf32>) -> tensor<1x2x9x4xf32>
  // CHECK: func.return [[A]], [[B]]
  func.return %a, %b : tensor<1x2x9x4xf32>, tensor<1x2x9x4xf32>
}
