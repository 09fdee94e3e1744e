// RUN: attnc-opt %s -p 'lower-linear{rules="*=taylor:order=context"},turn-operands,remove-unused' | filecheck %s

// Keys are made a row a channel, and what is made of them and the values is one matrix a head.

// CHECK: func.func @main
func.func @main(%x: tensor<1x9x4xf32>, %v: tensor<1x1x9x4xf32>) -> tensor<1x1x9x4xf32> {
  %w = nn.constant dense<1.0> : tensor<4x4xf32>
  // CHECK: [[Q:%.*]] = nn.matmul %x, {{%.*}} : (tensor<1x9x4xf32>, tensor<4x4xf32>)
  %q = nn.matmul %x, %w : (tensor<1x9x4xf32>, tensor<4x4xf32>) -> tensor<1x9x4xf32>
  %q1 = nn.reshape %q : tensor<1x9x4xf32> to tensor<1x1x9x4xf32>
  // CHECK: [[K:%.*]] = nn.matmul {{%.*}}, %x transpose_rhs : (tensor<4x4xf32>, tensor<1x9x4xf32>) -> tensor<1x4x9xf32>
  %u = nn.constant dense<2.0> : tensor<4x4xf32>
  %k = nn.matmul %x, %u : (tensor<1x9x4xf32>, tensor<4x4xf32>) -> tensor<1x9x4xf32>
  %k1 = nn.reshape %k : tensor<1x9x4xf32> to tensor<1x1x9x4xf32>
  // CHECK: [[MEAN:%.*]] = nn.reduce mean [[TURNED:%.*]] axes [3] : tensor<1x1x4x9xf32>
  // CHECK: [[C:%.*]] = nn.map "sub"([[TURNED]], [[MEAN]])
  // CHECK: [[SUM:%.*]] = nn.matmul {{%.*}}, %v : (tensor<1x9xf32>, tensor<1x1x9x4xf32>)
  // CHECK: [[G:%.*]] = nn.matmul [[C]], %v : (tensor<1x1x4x9xf32>, tensor<1x1x9x4xf32>) -> tensor<1x1x4x4xf32>
  // CHECK: form = #sattn<form "taylor:order=context">
  %a = sattn.attention q %q1 k %k1 v %v scale 5.0e-01
       : (tensor<1x1x9x4xf32>, tensor<1x1x9x4xf32>, tensor<1x1x9x4xf32>) -> tensor<1x1x9x4xf32>
  func.return %a : tensor<1x1x9x4xf32>
}
